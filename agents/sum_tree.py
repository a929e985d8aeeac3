"""Draws in proportion to priorities: a binary tree of sums (Schaul et al. 2016, appendix B.2.1)."""

from __future__ import annotations

import math

import numpy as np


class SumTree:
    """Sums of non-negative leaves in a binary tree: O(log n) update and proportional draw.

    A parent is always recomputed as the sum of its children, never by adding a difference, so a
    tree rebuilt from its leaves is equal bit for bit.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.levels = max(1, math.ceil(math.log2(size)))
        self.first_leaf = 1 << self.levels
        self.nodes = np.zeros(2 * self.first_leaf, dtype=np.float64)

    @property
    def total(self) -> float:
        return float(self.nodes[1])

    @property
    def leaves(self) -> np.ndarray:
        """A view, (size,) float64."""
        return self.nodes[self.first_leaf : self.first_leaf + self.size]

    def set(self, index: np.ndarray, value: np.ndarray | float) -> None:
        node = index + self.first_leaf
        self.nodes[node] = value
        for _ in range(self.levels):
            node = node >> 1
            child = node << 1
            self.nodes[node] = self.nodes[child] + self.nodes[child + 1]

    def set_leaves(self, leaves: np.ndarray) -> None:
        self.leaves[:] = leaves
        for level in range(self.levels - 1, -1, -1):
            lo, hi = 1 << level, 2 << level
            self.nodes[lo:hi] = (
                self.nodes[2 * lo : 2 * hi : 2] + self.nodes[2 * lo + 1 : 2 * hi : 2]
            )

    def draw(self, mass: np.ndarray) -> np.ndarray:
        """(B,) float64 in [0, total) -> (B,) leaf indices; a zero leaf is never drawn."""
        node = np.ones(len(mass), dtype=np.int64)
        for _ in range(self.levels):
            node <<= 1
            left = self.nodes[node]
            # rounding may point past the last leaf with mass: stay left of an empty subtree
            right = (mass >= left) & (self.nodes[node + 1] > 0)
            mass = np.where(right, mass - left, mass)
            node += right
        return node - self.first_leaf
