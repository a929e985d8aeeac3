"""When to log, to save and to end: by clocks, by signals, and as the task asks.

Several processes must do each of these together, though their clocks differ and a signal may reach
only one of them. So they meet every MEETING_SECONDS, after a number of rounds that all of them
know, and do what any of them wishes.

Evaluating and saving is no training: meanwhile the clock of logs stands still, so that the speed
between two logs is that of training alone.
"""

import contextlib
import time
from collections.abc import Iterator

from playground import ranks

MEETING_SECONDS = 0.2
ENDS = (None, "hours", "stopped", "interrupted")  # the later counts more


def due(every: int | None, before: int, now: int) -> bool:
    """Whether a multiple of `every` lies in (before, now]."""
    return every is not None and now // every > before // every


class Agenda:
    """`stop` is why this process wishes to end, `end` why all of them do."""

    def __init__(
        self, hours: float | None, log_seconds: float, checkpoint_minutes: float | None
    ) -> None:
        self.seconds = None if hours is None else hours * 3600
        self.log_seconds = log_seconds
        self.save_seconds = None if checkpoint_minutes is None else checkpoint_minutes * 60
        self.begin()

    def begin(self) -> None:
        """Start all clocks, and forget why to end."""
        self.stop: str | None = None
        self.end: str | None = None
        self._began = self._met_at = self._logged_at = self._saved_at = time.monotonic()
        self._aside = 0.0  # seconds of evaluating and saving so far
        self._hold_until = 0.0  # no saving at the task's wish before
        self._rounds = self._rounds_left = 1  # between two meetings, and up to the next

    def meet(self, checkpoint_due: bool) -> tuple[bool, bool]:
        """After each round: whether to log and to save now. `end` may be set."""
        self._rounds_left -= 1
        if self._rounds_left:
            return False, False
        now = time.monotonic()
        if self.seconds is not None and now - self._began >= self.seconds:
            self.stop = self.stop or "hours"
        log = now - self._logged_at >= self.log_seconds
        save = checkpoint_due and now >= self._hold_until
        save |= self.save_seconds is not None and now - self._saved_at >= self.save_seconds
        wishes = [ENDS.index(self.stop), int(log), int(save), self._rounds_to_come(now)]
        wishes = ranks.largest(wishes)
        self.end, self._met_at = ENDS[wishes[0]], now
        self._rounds = self._rounds_left = wishes[3]
        return bool(wishes[1]), bool(wishes[2])

    def _rounds_to_come(self, now: float) -> int:
        """As many as fit between two meetings by the first one's clock, growing slowly."""
        if ranks.world() == 1 or ranks.rank() > 0:
            return 1
        seconds = max(now - self._met_at, 1e-6) / self._rounds
        return max(1, min(2 * self._rounds, int(MEETING_SECONDS / seconds)))

    @contextlib.contextmanager
    def aside(self) -> Iterator[None]:
        """Around an evaluation or a checkpoint: see the module's top."""
        began = time.monotonic()
        try:
            yield
        finally:
            seconds = time.monotonic() - began
            self._logged_at += seconds
            self._aside += seconds

    def logged(self) -> float:
        """Call when logging; the seconds of training since the last time."""
        now = time.monotonic()
        seconds, self._logged_at = now - self._logged_at, now
        return seconds

    def saved(self, again_in: float | None = None) -> None:
        """Call when saving; where it was refused, with the seconds until it is tried again."""
        self._saved_at = time.monotonic()
        self._hold_until = self._saved_at + (again_in or 0.0)
        if again_in is not None and self.save_seconds is not None:
            self._saved_at -= max(0.0, self.save_seconds - again_in)

    def eta(self, training_seconds: float | None) -> float | None:
        """Seconds until so much more training is done or the hours are over; None without either.

        Evaluations and checkpoints are taken to need the same share of the time as so far.
        """
        elapsed = time.monotonic() - self._began
        left = []
        if training_seconds is not None:
            trained = max(elapsed - self._aside, 1e-9)
            left.append(training_seconds * (1 + self._aside / trained))
        if self.seconds is not None:
            left.append(self.seconds - elapsed)
        return max(0.0, min(left)) if left else None
