"""What every card of a model that ships tells: how long it was trained, and by which command."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from playground.config import to_json
from playground.errors import UserError
from playground.run import Run
from scripts.training import PLAY

LARGEST_BYTES = 4_000_000  # of a model that ships
PAUSE_SECONDS = 1800  # two log lines further apart belong to different sittings
COURSE = "what the command does not say of how it was trained"  # the help of --course


def file_of(run: Run, task: str, which: str) -> Path:
    """The file of a run's model, `best` or `last`; UserError for another task."""
    if run.task != task:
        raise UserError(f"{run.path} is no run of train {task}.")
    return run.path / f"{which}.safetensors"


def content_of(file: Path) -> bytes:
    """What is in a model's file; UserError for a large one."""
    content = file.read_bytes()
    if len(content) > LARGEST_BYTES:
        raise UserError(
            f"This model takes {len(content):,} bytes, more than the {LARGEST_BYTES:,} that the "
            "zoo allows; train a smaller one."
        )
    return content


def trained(
    run: Run,
    updates: int,
    usual: Sequence[Any],
    curve: Sequence[str],
    extra: str = "",
    course: str | None = None,
) -> dict[str, Any]:
    """How a run's model came to be, as JSON.

    Args:
        run: of the training.
        updates: after how many the model that ships was saved.
        usual: the preset's settings and its trainer's, which need no flags.
        curve: what each row of the learning curve has beside updates and minutes.
        extra: flags of the command that are no settings.
        course: what the command does not say of the training, if there is anything.
    """
    config, settings = map(plain, (run.settings["config"], run.settings["trainer"]))
    known = {name: value for part in usual for name, value in to_json(part).items()}
    words = [f"{PLAY} train {run.task} --preset {run.settings['preset']}", *filter(None, [extra])]
    total, found = evaluations(run)
    return {
        "task": run.task,
        "command": " ".join([*words, *flags(config | settings, known)]),
        "commit": run.settings["commit"],
        "settings": config,
        "updates": updates,
        "minutes": next(m for m, line in found if line["step"] == updates),
        "minutes_total": total,
        "hardware": f"{run.settings['precision']['device']}, {settings['threads']} thread(s)",
        "precision": run.settings["precision"]["precision"],
        "versions": run.settings["versions"],
        "curve": [
            [line["step"], minutes, *(line.get(f"evaluate/{name}") for name in curve)]
            for minutes, line in found
        ],
        **({"course": course} if course else {}),
    }


def plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Files without their folders, which are nobody else's; `--data KIND:DIR` too."""
    return {
        name: _without_folders(value) if isinstance(value, str) else value
        for name, value in settings.items()
    }


def _without_folders(value: str) -> str:
    kind, _, place = value.rpartition(":")
    if not Path(place).is_absolute():
        return value
    return f"{kind}:{Path(place).name}" if kind else Path(place).name


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
            words.append(f"--{flag} {'none' if value is None else shlex.quote(str(shown))}")
    return words
