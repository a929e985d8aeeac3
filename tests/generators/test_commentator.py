"""The commentator: when it looks, what it looks at, how long a sentence stays, of which games."""

import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from generators.commentator import Commentator, draw, gap
from playground.errors import UserError
from playground.frames import Box, Frame
from playground.subtitles import Line


class Parrot:
    """Stands in for a captioner: notes what it is shown, and believes what it is told to."""

    def __init__(self, frames=4, text="The ball flies.", games=(), drawn=(), belief=None):
        self.plan = SimpleNamespace(frames=frames, registers=("describe", "comment"))
        self.seen, self.text, self.register, self.games = [], text, None, games
        self.drawn, self._belief, self._encoded = drawn, belief or (lambda text, clip: 0.0), []

    def caption(self, images, register=None, beam=3):
        self.seen.append(np.array(images))
        self.register = register
        return [f"{self.text} {len(self.seen)}"]

    def fitted(self, images):
        return images

    def encode(self, images):
        self._encoded.append(images)
        return torch.tensor([[len(self._encoded) - 1]])

    def tell(self, maps, register, beam):
        (text,) = self.caption(self._encoded[maps.item()], register, beam)
        return [SimpleNamespace(text=text)]

    def draw(self, maps, register, count, seed):
        return list(self.drawn)

    def belief(self, maps, texts, register):
        clips = [self._encoded[number] for number in maps[:, 0].tolist()]
        pairs = zip(texts, clips, strict=True)
        return torch.tensor([[0.0, self._belief(*pair), 0.0] for pair in pairs])


def waiting():
    """A commentator with a thread, whose captioner says nothing until the event is set."""
    seen = threading.Event()

    class Slow(Parrot):
        def caption(self, images, register=None, beam=3):
            assert seen.wait(60)
            return super().caption(images, register, beam)

    return Commentator(Slow(), live=True), seen


def frame(number, boxes=(), **facts):
    pixels = np.full((20, 160, 3), number % 256, np.uint8)
    return Frame(pixels, "game", {"episode": 0, "lives": 3, "reward": 0.0, **facts}, tuple(boxes))


def told(comment, frames):
    """The sentence that stands at each frame."""
    return [comment.see(each).facts["caption"] for each in frames]


def test_it_looks_at_the_last_quarter_of_a_second():
    parrot = Parrot()
    comment = Commentator(parrot)
    said = told(comment, [frame(i, reward=float(i == 10)) for i in range(60)])
    assert parrot.register == "comment"
    first = next(i for i, text in enumerate(said) if text)
    assert first == 16  # 0.1 s after the point
    (clip,) = parrot.seen
    assert clip.shape == (4, 20, 160, 3)
    assert [int(each[0, 0, 0]) for each in clip] == [1, 6, 11, 16]


def plain(count):
    """Frames of a film, of which nothing is known."""
    return [Frame(np.full((20, 160, 3), i, np.uint8)) for i in range(count)]


@pytest.mark.parametrize("live", [False, True])
def test_a_short_film_is_told_as_soon_as_a_clip_is_seen(live):
    parrot = Parrot()
    comment = Commentator(parrot, live=live)
    told(comment, plain(16))
    while live and not comment._coming[0].done():
        time.sleep(0.01)
    told(comment, plain(14))
    comment.close()
    assert [int(each[0, 0, 0]) for each in parrot.seen[0]] == [0, 5, 10, 15]
    assert comment.lines == [Line(15 + live, 30, "The ball flies. 1")]


@pytest.mark.parametrize("count", [1, 7])
def test_a_film_shorter_than_a_clip_is_told_at_its_end(count):
    parrot = Parrot()
    comment = Commentator(parrot)
    assert not any(told(comment, plain(count)))
    comment.close()
    comment.close()
    assert [clip.shape for clip in parrot.seen] == [(count, 20, 160, 3)]
    assert comment.lines == [Line(0, count, "The ball flies. 1")]


def test_of_nothing_nothing_is_told():
    comment = Commentator(Parrot())
    comment.close()
    assert not comment.lines


def test_pictures_alone_are_enough_for_a_captioner_of_pictures():
    parrot = Parrot(frames=1)
    told(Commentator(parrot), [frame(i, reward=float(i == 3)) for i in range(12)])
    assert parrot.seen[0].shape == (20, 160, 3)


def test_a_sentence_stays_to_be_read_and_a_lost_life_breaks_in():
    parrot = Parrot(text="A sentence of some thirty letters.")
    comment = Commentator(parrot)
    points = [frame(i, reward=float(i % 10 == 0 and i > 20)) for i in range(200)]
    said = told(comment, points)
    lengths = [said.count(text) for text in dict.fromkeys(said) if text]
    assert lengths[1] >= 110  # about two seconds, though there is a point each sixth of a second
    lost = [frame(200 + i, lives=3 if i < 2 else 2) for i in range(60)]
    after = told(comment, lost)
    assert after[0] != after[-1] and len({*after} - {""}) == 2
    comment.close()
    assert [line.end for line in comment.lines][:-1] == [line.start for line in comment.lines][1:]


def test_what_was_said_of_nothing_special_gives_way_to_a_point():
    comment = Commentator(Parrot(text="A sentence of some thirty letters."))
    said = told(comment, [frame(i, reward=float(i == 40)) for i in range(100)])
    assert [text[-1:] for text in said] == [""] * 15 + ["1"] * 48 + ["2"] * 37


def last(clip):
    """The number of a clip's last frame."""
    return int(clip[-1, 0, 0, 0])


def belief(**spans):
    """A captioner's: each sentence is believed from one frame to before another."""

    def believed(text, clip):
        first, end = spans.get(text.strip("."), (0, 1000))
        return 0.0 if first <= last(clip) < end else -9.0

    return believed


def test_where_nothing_happens_it_says_what_has_held_for_a_while():
    drawn = ("New.", "Old.", "Doubtful.")
    spans = belief(New=(180, 1000), Doubtful=(1000, 1000))
    parrot = Parrot(drawn=drawn, belief=lambda t, c: spans(t, c) - 1.0 * t.startswith("The"))
    comment = Commentator(parrot)
    said = told(comment, [frame(i) for i in range(250)])
    texts = [text for text in dict.fromkeys(said) if text]
    assert texts[0] == "Old." and "Doubtful." not in texts
    assert texts[1].startswith("The ball flies.")  # it has just said the other


def test_of_what_happens_it_says_what_was_not_so_before():
    parrot = Parrot(drawn=("New.", "Old."), belief=belief(New=(60, 1000)))
    comment = Commentator(parrot)
    said = told(comment, [frame(i, reward=float(i == 60)) for i in range(80)])
    assert said[59] != "New." and said[79] == "New."


def test_where_it_is_known_what_is_news_points_are_told_by_it_and_by_it_alone():
    drawn = ("A point!", "Old.", "New.")
    comment = Commentator(
        Parrot(drawn=drawn, belief=belief(New=(60, 1000))), news=lambda text: text == "A point!"
    )
    said = told(comment, [frame(i, reward=float(i in (60, 400))) for i in range(420)])
    assert "A point!" not in said[:60] + said[230:400]
    assert said[79] == said[419] == "A point!"


def test_a_point_that_must_wait_is_told_by_the_clip_that_has_it():
    """The sentence before stands until half a second after it; the captioner has no other news."""
    parrot = Parrot(text="A sentence of some thirty letters.", drawn=("A point!",))
    comment = Commentator(parrot, news=lambda text: text == "A point!")
    told(comment, [frame(i, reward=float(i in (30, 130))) for i in range(180)])
    clips = [last(clip) for clip in parrot.seen]
    assert clips[:3] == [15, 36, 136] and len(comment.lines) >= 1


def test_a_point_of_which_there_is_no_news_breaks_in_on_no_sentence():
    text = "A sentence of some thirty letters."
    comment = Commentator(Parrot(text=text), news=lambda text: False)
    said = told(comment, [frame(i, reward=float(i == 40)) for i in range(250)])
    assert said.count(f"{text} 1") >= 0.055 * 36 * 60


def test_what_is_coming_of_an_episode_is_not_said_of_the_next():
    comment, seen = waiting()
    told(comment, of_game("pong"))
    coming, _ = comment._coming
    told(comment, of_game("pong", 1, episode=1))
    seen.set()
    coming.result(60)
    assert not any(told(comment, of_game("pong", 10, episode=1)))
    comment.close()


def test_empty_sentences_are_not_said():
    parrot = Parrot(drawn=("",))
    parrot.tell = lambda maps, register, beam: [SimpleNamespace(text="")]
    comment = Commentator(parrot)
    assert not any(told(comment, [frame(i, reward=float(i == 40)) for i in range(120)]))
    comment.close()
    assert all(line.text for line in comment.lines)


def test_it_waits_for_what_lasts_but_not_for_ever():
    """A captioner that believes each sentence at one frame only."""
    moments = {}

    def believed(text, clip):
        return -9.0 * (moments.setdefault(text, last(clip)) != last(clip))

    said = told(Commentator(Parrot(belief=believed)), [frame(i) for i in range(250)])
    gone = said.index("", 15)
    again = next(i for i in range(gone, 250) if said[i])
    assert said[15] and gone < 80 and again == pytest.approx(gone + 2.5 * 60, abs=0.5 * 60)


def test_what_is_no_longer_believed_goes_after_half_of_its_time():
    text = "A sentence of some thirty letters."  # two seconds
    never = belief(**{f"{text} 1": (0, 30)})
    comment = Commentator(Parrot(text=text, belief=never))
    said = told(comment, [frame(i) for i in range(120)])
    assert said.count(f"{text} 1") == pytest.approx(0.5 * 0.055 * 36 * 60, abs=1)
    assert said[80] == f"{text} 2"  # and another one comes


def test_what_has_happened_is_left_to_be_read():
    text = "A sentence of some thirty letters."
    never = belief(**{f"{text} 2": (0, 80)})
    comment = Commentator(Parrot(text=text, belief=never))
    said = told(comment, [frame(i, reward=float(i == 70)) for i in range(240)])
    assert said.count(f"{text} 2") == pytest.approx(0.055 * 36 * 60, abs=1)


def test_old_news_is_not_told():
    parrot = Parrot(text="x" * 90)  # stays for five seconds
    comment = Commentator(parrot)
    told(comment, [frame(i, reward=float(i in (30, 80))) for i in range(250)])
    assert len(parrot.seen) == 2  # of nothing special, then of the first point


def test_coming_close_is_told_once_until_it_was_far():
    player = Box("player", 50, 10, 8, 8)

    def at(i, x):
        return frame(i, [player, Box("ball", x, 10, 2, 4)])

    parrot = Parrot()
    comment = Commentator(parrot)
    told(comment, [at(i, 100) for i in range(20)] + [at(20 + i, 62) for i in range(60)])
    assert len(parrot.seen) == 1
    told(comment, [at(i, 75) for i in range(40)] + [at(i, 62) for i in range(20)])
    assert len(parrot.seen) == 1  # it was never far
    assert gap(player, Box("ball", 62, 10, 2, 4)) == 4


def test_silence_ends_and_an_episode_begins_anew():
    parrot = Parrot()
    comment = Commentator(parrot)
    told(comment, [Frame(np.zeros((4, 4, 3), np.uint8)) for _ in range(400)])
    assert 1 <= len(parrot.seen) <= 4
    parrot.seen.clear()
    told(comment, [frame(i, episode=1, reward=float(i == 2)) for i in range(15)])
    assert not parrot.seen  # no clip reaches back into the episode before
    told(comment, [frame(i, episode=1, game="pong", lives=1) for i in range(15)])
    assert not parrot.seen  # nor into another game, whose lives are not compared either


def test_other_speeds_of_films_are_other_steps():
    parrot = Parrot()
    comment = Commentator(parrot, fps=30)
    told(comment, [frame(i, reward=float(i == 5)) for i in range(30)])
    assert [int(each[0, 0, 0]) for each in parrot.seen[0]] == [2, 4, 6, 8]


def test_in_a_thread_no_frame_waits():
    comment, seen = waiting()
    said = told(comment, [frame(i, reward=float(i == 20)) for i in range(30)])
    assert not any(said)
    seen.set()
    comment._coming[0].result(60)
    assert told(comment, [frame(31)]) == ["The ball flies. 1"]
    comment.close()
    assert comment.lines == [Line(30, 31, "The ball flies. 1")]


def test_it_draws_below_in_a_band_of_one_height():
    comment = Commentator(Parrot())
    shown = [comment(frame(i, reward=float(i == 20))) for i in range(40)]
    assert len({each.pixels.shape for each in shown}) == 1 and shown[0].height > 40
    assert (shown[35].pixels[:20] == 35).all() and shown[35].pixels[20:].max() > 150
    assert shown[0].text == "game" and shown[35].text == "The ball flies. 1"
    plain = Frame(np.zeros((4, 4, 3), np.uint8))
    assert draw(plain) is plain


def test_registers_that_it_does_not_know():
    with pytest.raises(UserError, match="describe or comment"):
        Commentator(Parrot(), "shout")


def of_game(game, count=30, **facts):
    return [frame(i, game=game, **facts) for i in range(count)]


def test_what_was_said_of_a_game_does_not_stand_over_the_next():
    comment = Commentator(Parrot(text="A sentence of some thirty letters."))
    *_, last = told(comment, of_game("pong"))
    assert last and told(comment, of_game("pong", 10, episode=1)) == [last] * 10  # is being read
    said = told(comment, of_game("boxing"))
    assert [text[-1:] for text in said] == [""] * 15 + ["2"] * 15  # as soon as a clip is seen
    comment.close()
    assert [(line.start, line.end) for line in comment.lines] == [(15, 40), (55, 70)]


def test_what_is_still_to_be_said_of_a_game_is_not_said_of_the_next():
    comment, seen = waiting()
    told(comment, of_game("pong"))
    coming, _ = comment._coming
    assert told(comment, of_game("boxing", 3)) == [""] * 3
    seen.set()
    coming.result(60)
    assert told(comment, of_game("boxing", 3)) == [""] * 3 and not comment.lines
    comment.close()


def test_of_games_that_were_not_learned_nothing_is_said_and_that_once(capsys):
    comment = Commentator(Parrot(games=("pong", "ms_pacman")))
    assert not any(told(comment, of_game("qbert", 60) + of_game("qbert", 60, episode=1)))
    assert any(told(comment, of_game("ms_pacman", 60)))
    assert not any(told(comment, of_game("qbert", 60) + of_game("pacman", 60)))
    assert any(told(comment, of_game("pong", 60)))
    assert len(comment.captioner.seen) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert "pong, ms_pacman" in first and "of qbert" in first and "of pacman" in second
    alone = Commentator(Parrot(games=("pong",)))
    told(alone, of_game("qbert", 5))
    alone.close()
    assert not alone.lines and not alone.captioner.seen
    photos = Commentator(Parrot(frames=1))
    assert any(told(photos, of_game("qbert", 60)))
