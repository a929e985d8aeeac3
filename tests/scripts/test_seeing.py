"""The flags of saliency and value: which filters they make."""

import argparse
from pathlib import Path

import pytest

from playground.media import read_video
from scripts import play, seeing


def test_filters_are_made_of_their_flags_alone() -> None:
    parser = argparse.ArgumentParser()
    seeing.add_saliency(parser)
    seeing.add_value(parser)
    none = parser.parse_args([])
    assert seeing.saliency_filter(none) is None and seeing.value_filter(none) is None
    both = parser.parse_args(["--saliency", "--value"])
    assert both.saliency == "gradient"
    assert seeing.saliency_filter(both) is not None and seeing.value_filter(both) is not None
    assert parser.parse_args(["--saliency", "perturbation"]).saliency == "perturbation"
    with pytest.raises(SystemExit):
        parser.parse_args(["--saliency", "luck"])


def test_a_film_shows_them(tmp_path: Path) -> None:
    film = tmp_path / "a.gif"
    words = ["watch", "pong", "--record", str(film), "--seconds", "0.2", "--no-overlay"]
    assert play.main([*words, "--saliency", "--value"]) in (None, 0)
    frames, _ = read_video(film)
    assert next(frames).shape == (254, 160, 3)  # 210, and the strip's 44
