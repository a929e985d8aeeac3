"""The probe's own arithmetic: grids, ridge against its normal equations, a network that knows."""

import numpy as np
import pytest
import torch

from agents.players import zoo_agents
from playground.backbone import create
from scripts.benchmarks.arcade_probe import CAP, Net, Ridge, collect, grid, probe_game, r_squared


@pytest.mark.parametrize(
    "shape", [(1, 32, 105, 80), (1, 160, 13, 10), (1, 9000, 2, 2), (1, 8, 4, 4)]
)
def test_the_grid_is_the_finest_under_the_cap_in_the_maps_proportion(shape):
    rows, columns = grid(torch.Size(shape))
    assert rows * columns * shape[1] <= max(CAP, shape[1])
    assert rows <= shape[2] and columns <= shape[3]
    assert (rows + 1) * (columns + 1) * shape[1] > CAP or (rows, columns) == shape[2:]


def test_ridge_in_the_dual_equals_the_normal_equations_on_the_rows_where_the_target_is():
    torch.manual_seed(0)
    features = {split: torch.randn(60, 5).double() for split in ("train", "validate", "test")}
    truth = torch.randn(5).double()
    y = {s: (f @ truth + 0.3 * torch.randn(60) + 4).numpy() for s, f in features.items()}
    there = {split: np.arange(60) % 3 > 0 for split in features}
    found = Ridge(features).fit_one(y, there)

    rows = {s: torch.from_numpy(mask) for s, mask in there.items()}
    x = {s: f[rows[s]] for s, f in features.items()}
    mean, centre = x["train"].mean(0), float(y["train"][there["train"]].mean())
    a = x["train"] - mean
    known = {s: torch.from_numpy(y[s])[rows[s]] for s in y}
    best = (-1.0, -1.0)
    for strength in (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0):
        size = strength * a.square().sum(1).mean()
        system = a.T @ a + size * torch.eye(5).double()
        weights = torch.linalg.solve(system, a.T @ (known["train"] - centre))
        guess = {s: (x[s] - mean) @ weights + centre for s in ("validate", "test")}
        best = max(best, tuple(r_squared(known[s], guess[s]) for s in guess))  # type: ignore[type-var]
    assert found == pytest.approx(best, abs=1e-6)
    assert found[1] > 0.9


def test_r_squared_by_hand_and_its_floor():
    truth = torch.tensor([0.0, 10.0, 20.0])
    assert r_squared(truth, truth) == 1
    assert r_squared(truth, truth.mean().expand(3)) == pytest.approx(0)
    still = torch.tensor([5.0, 5.0])
    assert r_squared(still, still + 2) == pytest.approx(0)  # 2 px off, floor 2 px squared


def test_a_probe_of_a_game_gives_one_figure_for_each_moving_coordinate():
    screens = {
        split: collect("pong", split, 40, zoo_agents()) for split in ("train", "validate", "test")
    }
    torch.manual_seed(0)
    net = Net("random", create("arcade", width=0.25).eval(), "pixels")
    assert net.layers == ["relu1_2", "relu2_1", "relu3_2", "relu4_2"]
    found = probe_game(net, screens)
    assert set(found["coordinates"]) <= set(screens["train"]["names"])
    assert found["coordinates"]["player_y"] > 0.3
    assert found["r2"] == pytest.approx(np.mean(list(found["coordinates"].values())), abs=1e-3)
