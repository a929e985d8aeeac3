"""Stacked-MNIST: three digits in one picture, read again, and how many modes that makes."""

import json
import math

import pytest
import torch

from playground.data import Pictures
from scripts.benchmarks import stacked_mnist
from scripts.benchmarks.stacked_mnist import MODES, SIZE, figures, modes_of, stacked


class Reader:
    """Reads a digit from its brightness: tenths of white."""

    classes = tuple(map(str, range(10)))

    def probabilities(self, images: torch.Tensor) -> torch.Tensor:
        assert images.shape[1:] == (1, SIZE, SIZE)
        return torch.eye(10)[(images.mean((1, 2, 3)) * 10).round().long().clamp(max=9)]


def digits() -> Pictures:
    """Ten "digits" of so many tenths of white each."""
    pixels = (torch.arange(10) * 25.5).round().to(torch.uint8)
    labels = torch.arange(10)
    return Pictures(
        pixels.view(-1, 1, 1, 1).expand(-1, 1, SIZE, SIZE).contiguous(),
        labels,
        tuple(map(str, range(10))),
    )


def test_three_digits_are_stacked_and_read_again(monkeypatch):
    pictures = stacked(digits(), 5000, seed=1)
    assert pictures.channels == 3 and pictures.size == (SIZE, SIZE) and len(pictures) == 5000
    pixels = pictures.read(torch.arange(5000)).float() / 255
    modes = modes_of(pixels, Reader())
    tenths = (pixels[:, :, 0, 0] * 10).round().long()
    assert modes.tolist() == [100 * a + 10 * b + c for a, b, c in tenths.tolist()]
    found = figures(modes)
    assert found["modes"] == pytest.approx(MODES * (1 - math.exp(-5)), abs=12)
    assert 0 < found["kl"] < 0.2
    again = stacked(digits(), 5000, seed=1)
    assert torch.equal(again.read(torch.arange(9)), pictures.read(torch.arange(9)))


def test_figures_by_hand():
    assert figures(torch.arange(2 * MODES) % MODES) == {"modes": MODES, "kl": pytest.approx(0)}
    one = figures(torch.full((50,), 7))
    assert one == {"modes": 1, "kl": pytest.approx(math.log(MODES))}
    two = figures(torch.tensor([0, 0, 0, 999]))
    expected = 0.75 * math.log(0.75 * MODES) + 0.25 * math.log(0.25 * MODES)
    assert two == {"modes": 2, "kl": pytest.approx(expected)}


def test_a_reader_of_other_things(tmp_path, monkeypatch):
    class Other:
        classes = ("cat", "dog")

    monkeypatch.setattr(stacked_mnist.classifier, "load", lambda source: Other())
    words = ["stacked_mnist.py", "--data", "mnist:none", "--classifier", "pets"]
    monkeypatch.setattr("sys.argv", words)
    with pytest.raises(stacked_mnist.UserError, match="reads 2 classes, not ten digits"):
        stacked_mnist.main()


def test_modes_are_counted_in_between_and_in_the_end(tmp_path, monkeypatch):
    monkeypatch.setattr(stacked_mnist.data, "load", lambda *asked: digits())
    monkeypatch.setattr(stacked_mnist.classifier, "load", lambda source: Reader())
    out = tmp_path / "modes.json"
    words = "--data mnist:made --classifier made --pictures 300 --updates 3 --every 2 --samples 100"
    small = "--kinds 2 --width 4 --critic-width 0.1 --batch-size 4 --threads 1 --json"
    monkeypatch.setattr("sys.argv", ["stacked_mnist.py", *words.split(), *small.split(), str(out)])
    assert stacked_mnist.main() == 0
    found = json.loads(out.read_text())
    assert [line["updates"] for line in found["course"]] == [2, 3]
    assert found["real"]["modes"] > max(line["modes"] for line in found["course"]) >= 1
    assert found["settings"]["kinds"] == 2 and found["settings"]["samples"] == 100
