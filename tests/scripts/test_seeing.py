"""The flags of saliency, value and features: which filters they make."""

import argparse
from pathlib import Path

import pytest

from agents.feature_maps import WIDTH
from playground.media import read_video
from scripts import play, seeing


def test_filters_are_made_of_their_flags_alone() -> None:
    parser = argparse.ArgumentParser()
    seeing.add_saliency(parser)
    seeing.add_value(parser)
    seeing.add_features(parser)
    none = parser.parse_args([])
    assert seeing.saliency_filter(none) is None and seeing.value_filter(none) is None
    assert seeing.features_filter(none) is None
    both = parser.parse_args(["--saliency", "--value"])
    assert both.saliency == "gradient"
    assert seeing.saliency_filter(both) is not None and seeing.value_filter(both) is not None
    assert parser.parse_args(["--saliency", "perturbation"]).saliency == "perturbation"
    assert parser.parse_args(["--features", "relu1", "relu2"]).features == ["relu1", "relu2"]
    assert seeing.features_filter(parser.parse_args(["--features"])) is not None
    with pytest.raises(SystemExit):
        parser.parse_args(["--saliency", "luck"])


def test_a_film_shows_them(tmp_path: Path) -> None:
    film = tmp_path / "a.gif"
    words = ["watch", "pong", "--record", str(film), "--seconds", "0.2", "--no-overlay"]
    assert play.main([*words, "--saliency", "--value"]) in (None, 0)
    frames, _ = read_video(film)
    assert next(frames).shape == (266, 160, 3)  # 210, and the strip's 56
    assert play.main([*words, "--saliency", "--value", "--features", "relu1"]) == 0
    frames, _ = read_video(film)
    assert next(frames).shape == (266, 160 + round(WIDTH * 266), 3)


def test_a_layer_that_is_none_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    film = tmp_path / "a.gif"
    assert play.main(["watch", "pong", "--record", str(film), "--features", "relu9"]) == 2
    said = capsys.readouterr().err
    assert "no layer 'relu9'" in said and len(said.splitlines()) == 1 and not film.exists()
