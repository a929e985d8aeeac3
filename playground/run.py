"""One run directory: settings, metrics, paths. Everything in it is written aside and renamed.

DIR/<task>/<name>/
    config.json     settings, commit, versions, device
    metrics.jsonl   one line a log: {"step": ..., "time": seconds since 1970, ...}
    tensorboard/    the same figures
    checkpoints/ videos/ gallery/
"""

import contextlib
import errno
import json
import math
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError

from playground import ranks
from playground.errors import UserError

PACKAGES = ("torch", "numpy", "lightning-fabric", "gymnasium", "ale-py", "stable-baselines3")


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn what the disk refuses into one sentence (UserError)."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        text = str(error)
        # safetensors tells what the system said in words only.
        full = "No space left" in text or "quota" in text.lower()
        if isinstance(error, SafetensorError) and "I/O error" not in text and not full:
            raise
        if full or getattr(error, "errno", None) == errno.ENOSPC:
            raise UserError(
                f"The disk is full: {path} was not written. Free some space and go on with "
                "--resume; what was saved before is intact."
            ) from error
        reason = getattr(error, "strerror", None) or text
        raise UserError(f"Cannot write {path}: {reason}.") from error


def sync(path: Path) -> None:
    """Force a file, or a directory's list of names, onto the disk."""
    if path.is_dir() and os.name == "nt":  # Windows cannot open directories, and needs no sync
        return
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` (same suffix); it takes its name when the block succeeds.

    UserError when the disk is full or the folder cannot be written; `path` is then as before.
    """
    aside = path.with_name(f".tmp-{os.getpid()}-{path.name}")
    try:
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield aside
            sync(aside)
            os.replace(aside, path)
            sync(path.parent)
    finally:
        with contextlib.suppress(OSError):
            aside.unlink()


def write_json(path: Path, value: Any) -> None:
    """Atomically."""
    with atomic_path(path) as aside:
        aside.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def read_json(path: Path) -> Any:
    """The file's value; UserError when it is missing or broken."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error.strerror or error}.") from error
    except ValueError as error:
        raise UserError(f"{path} is not valid JSON ({error}).") from error


def device_name(kind: str = "cpu") -> str:
    """The maker's name of the processor or GPU, as figures should be stamped with."""
    if kind == "cuda" and torch.cuda.is_available():
        return torch.cuda.get_device_name()
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def check_name(name: str) -> None:
    """UserError for a run's name that is no folder's: one that would lead elsewhere."""
    if name in ("", ".", "..") or Path(name).name != name:
        raise UserError(
            f"A run's name is that of one folder, not '{name}'; --runs says where it lies."
        )


class Run:
    """A run directory that stands. `Run.create` makes one, `Run.open` finds one again.

    `Run.unkept` has no directory, for what is trained and thrown away: nothing of it is written.

    Where several processes train together (see `ranks`), only the first one writes: in the others
    `lock`, `update` and `log` do nothing.
    """

    def __init__(self, path: Path, settings: dict[str, Any]) -> None:
        self.path = path
        self.settings = settings
        self.task: str = settings["task"]
        self.name = path.name
        self.kept = True
        self._lines: Any = None  # metrics.jsonl, opened at the first log
        self._board: Any = None  # TensorBoard's writer, False where it is not installed
        self._purge_step: int | None = None
        self._lock: Any = None  # the file that says that this process trains the run

    @classmethod
    def create(
        cls,
        runs: Path,
        task: str,
        name: str | None,
        config: dict[str, Any],
        label: str = "",
        **extra: Any,
    ) -> "Run":
        """Make `runs/task/name`; without a name `<label or task>-<date>-<time>`, made unique.

        Of several processes the first one makes it, and all of them get it.
        """
        path, settings = ranks.by_first(
            lambda: cls._create(Path(runs), task, name, config, label, extra)
        )
        return cls(path, settings)

    @classmethod
    def _create(
        cls,
        runs: Path,
        task: str,
        name: str | None,
        config: dict[str, Any],
        label: str,
        extra: dict[str, Any],
    ) -> tuple[Path, dict[str, Any]]:
        if name is not None:
            check_name(name)
        folder = runs / task
        wanted = name or f"{label or task}-{time.strftime('%Y%m%d-%H%M')}"
        with writing(folder / wanted):
            folder.mkdir(parents=True, exist_ok=True)
            path = folder / wanted
            for attempt in range(2, 1000):
                try:
                    path.mkdir()
                    break
                except FileExistsError:
                    if name:
                        raise UserError(
                            f"The run {path} exists; go on with --resume {path} or choose another "
                            "name."
                        ) from None
                    path = folder / f"{wanted}-{attempt}"
        settings = {
            "task": task,
            "name": path.name,
            "created": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "config": config,
            "commit": _commit(),
            "versions": _versions(),
            "device": device_name("cuda" if torch.cuda.is_available() else "cpu"),
            **extra,
        }
        write_json(path / "config.json", settings)
        return path, settings

    @classmethod
    def open(cls, path: Path | str) -> "Run":
        """The run in `path`; UserError when there is none."""
        path = Path(path)
        if not os.path.isfile(path / "config.json"):  # False too where the system refuses the name
            raise UserError(f"{path} is not a run: it has no config.json.")
        settings = read_json(path / "config.json")
        if not isinstance(settings, dict) or not {"task", "config"} <= settings.keys():
            raise UserError(f"{path / 'config.json'} is not a run's config.json.")
        return cls(path, settings)

    @classmethod
    def unkept(cls, task: str) -> "Run":
        """A run that is nowhere: what is logged, drawn and saved for it is let go."""
        run = cls(Path(os.devnull), {"task": task, "config": {}})
        run.kept = False
        return run

    def lock(self) -> None:
        """Claim the run for this process, until `unlock` or its end, however it ends.

        UserError while another process trains it.
        """
        if self._lock is not None or not self.writes:
            return
        with writing(self.path / ".lock"):
            handle = open(self.path / ".lock", "a")  # noqa: SIM115
        try:
            _claim(handle)
        except OSError:
            handle.close()
            raise UserError(
                f"Another process is training {self.path}; end it before going on here."
            ) from None
        self._lock = handle

    def unlock(self) -> None:
        """Let others train the run."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def update(self, **settings: Any) -> None:
        """Add to the settings and write config.json."""
        self.settings.update(settings)
        if self.writes:
            write_json(self.path / "config.json", self.settings)

    def belongs(
        self, key: str, own: Any, refusal: str, keep: Callable[[Path], None] | None = None
    ) -> None:
        """Tie the run to its data: a new run remembers them, one that goes on compares.

        Args:
            key: of the settings, where `own` stands.
            own: what tells the data from others, as JSON has it.
            refusal: the UserError's sentence where the run was begun with others.
            keep: writes files of the data's own into a new run's folder.
        """
        if key not in self.settings and keep is not None and self.writes:
            keep(self.path)
        if self.settings.setdefault(key, own) != own:
            raise UserError(refusal)
        self.update()

    @property
    def writes(self) -> bool:
        """Whether this process may write into it."""
        return self.kept and ranks.rank() == 0

    @property
    def checkpoints(self) -> Path:
        """Where checkpoints go."""
        return self._folder("checkpoints")

    @property
    def videos(self) -> Path:
        """Where films go."""
        return self._folder("videos")

    @property
    def gallery(self) -> Path:
        """Where pictures and the summary page go."""
        return self._folder("gallery")

    def panel(self, step: int) -> Path:
        """The picture of the evaluation at `step`; the names sort by it."""
        return self.gallery / f"panel-{step:010d}.png"

    def film(self, step: int) -> Path:
        """The film of the evaluation at `step`."""
        return self.videos / f"{step:010d}.mp4"

    def films(self) -> dict[int, Path]:
        """Those films that there are, by step, in order."""
        found = sorted((self.path / "videos").glob("*.mp4"))
        return {int(file.stem): file for file in found if file.stem.isdecimal()}

    def _folder(self, name: str) -> Path:
        if self.kept:
            with writing(self.path / name):
                (self.path / name).mkdir(exist_ok=True)
        return self.path / name

    def log(self, step: int, **scalars: Any) -> None:
        """One line of figures at `step` (task units). Non-finite numbers are written as null."""
        if not self.writes:
            return
        values = {key: _plain(value) for key, value in scalars.items()}
        with writing(self.path / "metrics.jsonl"):
            if self._lines is None:
                self._lines = open(self.path / "metrics.jsonl", "a", encoding="utf-8")  # noqa: SIM115
            line = {"step": step, "time": round(time.time(), 3), **values}
            self._lines.write(json.dumps(line, allow_nan=False) + "\n")
            self._lines.flush()  # a killed process loses nothing
            if board := self._tensorboard():
                for key, value in values.items():
                    if isinstance(value, int | float):
                        board.add_scalar(key, value, step)

    def picture(self, step: int, name: str, pixels: np.ndarray) -> None:
        """Show (H, W, 3) uint8 in TensorBoard."""
        if self.writes and (board := self._tensorboard()):
            with writing(self.path / "tensorboard"):
                board.add_image(name, pixels, step, dataformats="HWC")

    def _tensorboard(self) -> Any:
        """TensorBoard's writer; False where it is not installed."""
        if self._board is None:
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError:
                self._board = False
            else:
                folder = str(self.path / "tensorboard")
                self._board = SummaryWriter(folder, purge_step=self._purge_step)
                self._purge_step = None
        return self._board

    def metrics(self) -> list[dict[str, Any]]:
        """All logged lines, oldest first; one that a crash tore, or without a step, is left out."""
        try:
            text = (self.path / "metrics.jsonl").read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return []
        found = []
        for line in text.splitlines():
            with contextlib.suppress(ValueError):
                figures = json.loads(line)
                if isinstance(figures, dict) and isinstance(figures.get("step"), int | float):
                    found.append(figures)
        return found

    def rewind(self, step: int) -> None:
        """Forget what was logged after `step`, so that a resumed run does not log it twice."""
        if not self.writes:
            return
        self.close()
        self._purge_step = step + 1
        kept = [line for line in self.metrics() if line["step"] <= step]
        with atomic_path(self.path / "metrics.jsonl") as aside:
            aside.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")
        for file in self.gallery.glob("panel-*.png"):
            if file > self.panel(step):
                file.unlink()
        for made, file in self.films().items():
            if made > step:
                file.unlink()

    def close(self) -> None:
        """Close the files; the next log opens them again."""
        if self._lines is not None:
            self._lines.close()
        if self._board:
            self._board.close()
        self._lines = self._board = None


def _claim(handle: Any) -> None:
    """Lock a file for this process; OSError where another one has it."""
    if sys.platform == "win32":
        import msvcrt

        msvcrt.locking(handle.fileno(), msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _plain(value: Any) -> Any:
    """A figure as JSON has it."""
    if hasattr(value, "tolist"):  # tensors, numpy arrays and scalars
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _versions() -> dict[str, str]:
    found = {"python": sys.version.split()[0]}
    for package in PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return found


def _commit() -> str:
    """The project's git commit, "-dirty" when files differ from it; "" outside git."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    try:
        options: dict[str, Any] = {"capture_output": True, "text": True, "timeout": 10}
        return subprocess.run([*command, "--abbrev=40"], **options, check=False).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""
