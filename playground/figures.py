"""Mean figures between two logs, over rounds and processes, read from the GPU only when logged."""

from typing import Any

from torch import Tensor

from playground import ranks


class Means:
    """`sums` holds, by name, the total so far and how many rounds gave it."""

    def __init__(self) -> None:
        self.sums: dict[str, tuple[Any, int]] = {}

    def add(self, figures: dict[str, Any]) -> None:
        """Sum a round's figures where they are, without reading them."""
        for name, value in figures.items():
            value = value.detach() if isinstance(value, Tensor) else value
            total, count = self.sums.get(name, (0, 0))
            self.sums[name] = (total + value, count + 1)

    def take(self, go_on: bool = False) -> dict[str, float]:
        """The means of all processes' rounds, in the first one ({} in the others).

        Then anew, or with `go_on` as if nothing had been asked.
        """
        own = {name: (float(total), count) for name, (total, count) in self.sums.items()}
        if not go_on:
            self.sums = {}
        found: dict[str, tuple[float, int]] = {}
        for part in ranks.to_first(own):
            for name, (total, count) in part.items():
                before = found.get(name, (0.0, 0))
                found[name] = (before[0] + total, before[1] + count)
        return {name: total / count for name, (total, count) in found.items()}
