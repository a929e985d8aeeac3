"""Published weights on real photos, and the benchmarks of backbones at their smallest."""

import json
import sys
from pathlib import Path

import pytest
import torch

from playground.backbone import create
from scripts.benchmarks import imagenet_check, precision

# On every tenth photo, from the first. Of all 1,000 they are 63.6 and 82.0.
TOP1 = {"squeezenet": 58.0, "mobilenet_v2": 83.0}


@pytest.mark.parametrize("family", TOP1)
def test_published_weights_know_photos(family: str, data_dir: Path) -> None:
    if not (data_dir / imagenet_check.ARCHIVE).is_file():
        pytest.skip(f"no {imagenet_check.ARCHIVE}")
    classes = range(0, 1000, 10)
    pictures = imagenet_check.photos(data_dir, classes)
    weights, _ = imagenet_check.EXPECTED[family]
    backbone = create(family, num_classes=1000, weights=data_dir / weights)
    backbone.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    found = imagenet_check.check(backbone, pictures, torch.tensor(classes), batch=25)
    assert abs(found["top1"] - TOP1[family]) <= 1 and found["top5"] > found["top1"]


def test_precision_measures_each_family(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    out = tmp_path / "out.json"
    flags = ["--families", "deepconv", "nature", "--batch", "1", "--seconds", "0"]
    monkeypatch.setattr(sys, "argv", ["precision.py", *flags, "--json", str(out)])
    assert precision.main() == 0
    rows = json.loads(out.read_text())["rows"]
    assert [row["family"] for row in rows] == ["deepconv", "nature"]
    for row in rows:
        cells = [row[" ".join(cell)] for cell in precision.CELLS]
        assert min(cells) == row[row["best"]] > 0
        assert row["gain"] == pytest.approx(cells[0] / min(cells), abs=0.01)
    assert "| deepconv | 1×28×28 |" in capsys.readouterr().out
