"""What the benchmarks of backbones share; each at its smallest: test_benchmarks_of_backbones."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from scripts.benchmarks import imagenet_check, measuring


def test_rows_become_a_table_and_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = torch.get_num_threads()
    out = tmp_path / "out.json"
    args = measuring.flags("Title.", batch=7).parse_args(["--threads", "1", "--json", str(out)])
    seen: list[int] = []

    def measured() -> Iterator[measuring.Row]:
        seen.append(torch.get_num_threads())
        yield {"family": "a", "ms": 1.5}
        assert '"family": "a"' in capsys.readouterr().err  # told before the next is measured
        yield {"family": "b", "ms": 2.5}

    try:
        rows = measuring.report(
            args, "ours", "ms", measured(), ("family", "time"),
            lambda row: (row["family"], f"{row['ms']:.0f}"),
        )  # fmt: skip
    finally:
        torch.set_num_threads(before)
    assert [row["ms"] for row in rows] == [1.5, 2.5] and seen == [1]
    printed = capsys.readouterr().out
    assert ", 1 threads, batches of 7, ms\n\n| family | time |\n| --- | --- |\n| a | 2 |" in printed
    assert json.loads(out.read_text())["rows"] == rows


@pytest.mark.parametrize(
    ("name", "flags"),
    [("imagenet_check", ["--data", "nowhere"]), ("precision", ["--families", "resnet81"])],
)
def test_each_runs_as_a_file_and_a_mistake_is_a_sentence(name: str, flags: list[str]) -> None:
    """From anywhere, without the repository on the path."""
    file = Path(measuring.__file__).with_name(f"{name}.py")
    found = subprocess.run(
        [sys.executable, str(file), *flags], capture_output=True, text=True, cwd="/", check=False
    )
    assert found.returncode == 2 and len(found.stderr.splitlines()) == 1, found.stderr


def test_the_published_weights_are_judged_on_all_photos_only(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if not (data_dir / imagenet_check.ARCHIVE).is_file():
        pytest.skip(f"no {imagenet_check.ARCHIVE}")
    flags = ["--data", str(data_dir), "--photos", "2", "--batch", "2"]
    monkeypatch.setattr(sys, "argv", ["imagenet_check.py", *flags])
    assert imagenet_check.main() == 0
    assert "| squeezenet | bf16 | " in capsys.readouterr().out
