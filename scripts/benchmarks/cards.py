"""What every card of a model that ships tells: how long it was trained, and by which command."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from playground.run import Run

PAUSE_SECONDS = 1800  # two log lines further apart belong to different sittings


def evaluations(run: Run) -> tuple[float, list[tuple[float, dict[str, Any]]]]:
    """(minutes trained, [(minutes until then, what was logged), ...]) of a run's evaluations.

    The clock starts with the first log line, and stands still while nobody trained.
    """
    seconds, before, found = 0.0, None, []
    for line in run.metrics():
        if before is not None and 0 < line["time"] - before < PAUSE_SECONDS:
            seconds += line["time"] - before
        before = line["time"]
        if "evaluate/score" in line:
            found.append((round(seconds / 60, 1), line))
    return round(seconds / 60, 1), found


def flags(
    given: Mapping[str, Any], usual: Mapping[str, Any], without: Collection[str] = ()
) -> list[str]:
    """The flags that a command needs for these settings (as JSON) where they are not the usual."""
    words = []
    for name, value in given.items():
        if value == usual[name] or name in without:
            continue
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{flag}" if value else f"--no-{flag}")
        else:
            shown = ",".join(map(str, value)) if isinstance(value, list | tuple) else value
            words.append(f"--{flag} {'none' if value is None else shown}")
    return words
