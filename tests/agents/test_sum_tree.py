"""The tree of sums against NumPy's own."""

import numpy as np
import pytest

from agents.sum_tree import SumTree


def test_sum_tree_is_exact_and_rebuilds_bit_for_bit() -> None:
    rng = np.random.default_rng(0)
    tree = SumTree(37)
    for _ in range(50):
        tree.set(rng.integers(0, 37, 9), rng.random())
    again = SumTree(37)
    again.set_leaves(tree.leaves)
    np.testing.assert_array_equal(again.nodes, tree.nodes)
    assert tree.total == pytest.approx(tree.leaves.sum())
    edges = np.cumsum(tree.leaves)
    mass = rng.random(2000) * tree.total
    np.testing.assert_array_equal(tree.draw(mass), np.searchsorted(edges, mass, side="right"))
    assert tree.leaves[tree.draw(np.array([tree.total, np.nextafter(tree.total, 9e9)]))].min() > 0
