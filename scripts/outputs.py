"""Where a verb writes: never over what it reads, each file apart, and names that are free."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import combinations
from pathlib import Path

from playground.errors import UserError
from playground.media import check_apart, numbered, same_file
from playground.run import writing


def check_outputs(outs: Mapping[str, Path | None], sources: Iterable[Path | str]) -> None:
    """UserError where a file would take the place of one that is read, or two are one.

    Args:
        outs: the files to be written by the flags that name them; None is passed over.
        sources: all that is read.
    """
    named = {flag: path for flag, path in outs.items() if path is not None}
    read = list(sources)
    for flag, path in named.items():
        check_apart(path, *read, flag=flag)
    for (flag, path), (other, same) in combinations(named.items(), 2):
        if same_file(path, same):
            raise UserError(f"{flag} and {other} are both {path}; name another file for one.")


def claimed(path: Path) -> Path:
    """A new, empty file: the first of `numbered` that nobody has. UserError where it cannot be."""
    return next(free for free in numbered(path) if _made(free))


def _made(path: Path) -> bool:
    """Whether there was no such file; now there is one."""
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            path.open("x").close()
        except FileExistsError:
            return False
    return True
