import numpy as np
import pytest

from playground.errors import UserError, nearest
from playground.frames import Box, Frame, pump, scale


class Basket:
    """A sink that keeps what it gets, and asks to stop after `limit` frames."""

    def __init__(self, limit=None):
        self.taken, self.limit = [], limit

    def write(self, frame):
        self.taken.append(frame)
        return None if self.limit is None else len(self.taken) < self.limit

    def close(self):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def picture(value, height=4, width=6):
    return Frame(np.full((height, width, 3), value, np.uint8))


def values(basket):
    return [int(frame.pixels[0, 0, 0]) for frame in basket.taken]


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((4, 4, 3), np.float32),
        np.zeros((0, 4, 3), np.uint8),
    ],
)
def test_a_frame_refuses_what_is_not_rgb_bytes(pixels):
    with pytest.raises(ValueError, match="uint8"):
        Frame(pixels)


def test_frames_do_not_share_their_facts():
    first = picture(0)
    first.facts["score"] = 1
    assert picture(0).facts == {}
    assert (first.height, first.width) == (4, 6)


def test_pump_applies_filters_in_order_and_serves_all_sinks():
    def add(frame):
        return Frame(frame.pixels + np.uint8(1))

    def double(frame):
        return Frame(frame.pixels * np.uint8(2))

    baskets = [Basket(), Basket()]
    assert pump(map(picture, range(3)), [add, double], baskets) == 3
    assert values(baskets[0]) == values(baskets[1]) == [2, 4, 6]


def test_pump_stops_where_a_sink_says_so_and_leaves_the_rest_of_the_source():
    source, baskets = map(picture, range(9)), [Basket(limit=2), Basket()]
    assert pump(source, sinks=baskets) == 2
    assert values(baskets[1]) == [0, 1]  # the other sink got the last frame too
    assert next(source).pixels[0, 0, 0] == 2


def test_a_sink_may_join_while_frames_flow():
    sinks, late = [Basket()], Basket()

    def source():
        yield picture(0)
        sinks.append(late)
        yield picture(1)

    assert pump(source(), sinks=sinks) == 2
    assert values(sinks[0]) == [0, 1] and values(late) == [1]


def test_scale_enlarges_pixels_and_boxes():
    pixels = np.arange(18, dtype=np.uint8).reshape(2, 3, 3)
    small = Frame(pixels, "ball", {"score": 3}, (Box("ball", 1, 0, 2, 1),))
    large = scale(3)(small)
    assert large.pixels.shape == (6, 9, 3)
    assert np.array_equal(large.pixels[1::3, 1::3], pixels)
    assert large.boxes == (Box("ball", 3, 0, 6, 3),)
    assert (large.text, large.facts) == ("ball", {"score": 3})


def test_nearest_names():
    names = ["pong", "pooyan", "breakout"]
    assert nearest("breakuot", names) == " Did you mean 'breakout'?"
    assert nearest("Pongg", names) == " Did you mean 'pong'?"
    assert nearest("pooon", names) == " Did you mean 'pooyan' or 'pong'?"
    assert nearest("aab", ["aaa", "aac", "aad"]).count("'") == 6
    assert nearest("chess", names) == ""
    assert issubclass(UserError, Exception)
