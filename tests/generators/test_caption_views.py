"""Attention as pictures and films, boxes of its peaks, captions below pictures."""

import numpy as np
import torch

from generators.caption_views import (
    DARK,
    attention_film,
    attention_sheet,
    captioned,
    last_picture,
    lit,
    peaks,
    wrapped,
)
from generators.captioner import Caption

PICTURE = np.full((40, 60, 3), 100, np.uint8)


def caption(words=("the", "ball", "."), rows=4, columns=6):
    looked = np.full((len(words), rows, columns), 0.1 / (rows * columns))
    for number in range(len(words)):
        looked[number, 1, 2 + number] += 0.9
    return Caption("The ball.", -1.0, list(words), looked)


def test_light_falls_where_a_word_looked():
    shown = lit(PICTURE, caption().attention[0])
    assert shown.shape == PICTURE.shape and shown.dtype == np.uint8
    brightest = np.unravel_index(shown.sum(2).argmax(), (40, 60))
    assert 10 <= brightest[0] < 20 and 20 <= brightest[1] < 30
    assert abs(int(shown[35, 5, 0]) - 100 * DARK) < 8


def test_peaks_are_boxes_named_after_words():
    boxes = peaks(caption(), PICTURE)
    assert [box.name for box in boxes] == ["the", "ball", "."]
    assert (boxes[1].x, boxes[1].y, boxes[1].width, boxes[1].height) == (30, 10, 10, 10)


def test_a_sheet_has_the_picture_and_one_for_each_word():
    sheet = attention_sheet(PICTURE, caption())
    assert sheet.shape[1] > 4 * 150 and sheet.shape[0] > 100


def test_a_film_tells_word_after_word():
    frames = list(attention_film(PICTURE, caption(), 2))
    assert len(frames) == 6 and len({frame.pixels.shape for frame in frames}) == 1
    assert [frame.text for frame in frames[::2]] == ["The", "The ball", "The ball."]
    silent = Caption("", 0.0, [], np.zeros((0, 4, 6)))
    assert len(list(attention_film(PICTURE, silent, 2))) == 1


def test_captions_stand_below_and_break_into_lines():
    short, long = captioned(PICTURE, "A ball."), captioned(PICTURE, "A ball that flies far away.")
    assert long.shape[0] > short.shape[0] > 40 and short.shape[1] == 60
    assert (short[:40] == PICTURE).all() and short[40:].max() > 150
    fixed = [captioned(PICTURE, text, 2, 10) for text in ("", "A", "A ball that flies far away")]
    assert len({pixels.shape for pixels in fixed}) == 1


def test_wrapping_and_the_last_picture():
    assert wrapped("a ball flies", 6) == "a ball\nflies" and wrapped("", 6) == ""
    clip = torch.arange(2 * 3 * 4 * 5, dtype=torch.uint8).view(2, 3, 4, 5)
    assert (last_picture(clip) == clip[1].permute(1, 2, 0).numpy()).all()
    assert last_picture(clip[0]).shape == (4, 5, 3)
