"""What the machine says of itself."""

import os
import sys
from pathlib import Path

import pytest

from playground import device


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux says it in /proc")
def test_available_memory_is_some_of_the_machines() -> None:
    found = device.available_memory()
    assert found is not None
    assert 0 < found < os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("MemTotal:       8000 kB\nMemAvailable:   2048 kB\nBuffers:  1 kB\n", 2048 * 1024),
        ("MemTotal:       8000 kB\nMemFree:         100 kB\n", None),
        ("", None),
        (None, None),
    ],
)
def test_available_memory_is_read_in_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str | None, expected: int | None
) -> None:
    monkeypatch.setattr(device, "MEMINFO", tmp_path / "meminfo")
    if text is not None:
        (tmp_path / "meminfo").write_text(text)
    assert device.available_memory() == expected
