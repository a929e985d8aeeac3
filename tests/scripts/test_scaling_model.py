"""The formulas of SCALING.md, by hand and at their limits, and that the page shows their tables."""

from dataclasses import replace
from pathlib import Path

import pytest

from scripts.benchmarks import scaling_model as model
from scripts.benchmarks.scaling_model import Cluster, Workload

PAGE = Path(__file__).resolve().parents[2] / "playground" / "SCALING.md"

# Round numbers: 4 GB of gradients in 153 buckets; 3e12 operations an example, at 1e12 a second.
LOAD = Workload("load", 10**9, 1e12, 10)
CLUSTER = Cluster("cluster", 2e12, 0.5, 0.0, 4, 100e9, 10e9, 0.0, 0.0)


def test_a_ring_by_hand() -> None:
    assert model.ring_seconds(1e9, 1, 1e9, 1.0) == 0
    assert model.ring_seconds(1e9, 2, 1e9, 0.25) == 1.0 + 2 * 0.25  # each sends half, twice
    assert model.ring_seconds(1e9, 4, 1e9, 0.25) == 1.5 + 6 * 0.25
    assert model.ring_seconds(1e9, 10**6, 1e9, 0.0) == pytest.approx(2.0, rel=1e-5)  # its limit


def test_an_exchange_takes_the_slowest_line() -> None:
    inside = model.exchange_seconds(LOAD, CLUSTER, 4)
    assert inside == pytest.approx(1.5 * 4e9 / 100e9)
    assert model.exchange_seconds(LOAD, CLUSTER, 5) == pytest.approx(1.6 * 4e9 / 10e9)
    count = model.buckets(LOAD.gradient_bytes)
    assert count == 153
    slow = replace(CLUSTER, inside_s=1e-3)
    assert model.exchange_seconds(LOAD, slow, 4) - inside == pytest.approx(count * 6e-3)


def test_compute_and_its_floor() -> None:
    assert model.compute_seconds(LOAD, CLUSTER, 10) == pytest.approx(30.0)
    assert model.compute_seconds(LOAD, replace(CLUSTER, floor_s=40.0), 10) == 40.0
    assert model.compute_seconds(replace(LOAD, forwards=4.0), CLUSTER, 10) == pytest.approx(40.0)


@pytest.mark.parametrize(
    ("exchange", "compute", "count", "waits"),
    [
        (3.0, 30.0, 1, 3.0),  # one bucket is ready when backward ends: nothing is hidden
        (4.0, 30.0, 4, 1.0),  # hidden, save for the last bucket
        (40.0, 30.0, 4, 25.0),  # 5 s of backward before the first one goes, 15 s beside it
        (0.0, 30.0, 4, 0.0),
    ],
)
def test_what_backward_hides(exchange: float, compute: float, count: int, waits: float) -> None:
    assert model.waiting_seconds(exchange, compute, count) == pytest.approx(waits)


def test_speedups() -> None:
    for cluster in model.CLUSTERS:
        times = [model.speedup(LOAD, cluster, n) for n in model.DEVICES]
        assert times[0] == 1 and all(t <= n for t, n in zip(times, model.DEVICES, strict=True))
    free = replace(CLUSTER, inside_bytes_s=1e30, between_bytes_s=1e30)
    assert model.speedup(LOAD, free, 100) == pytest.approx(100)
    assert model.speedup_of_one_batch(LOAD, free, 100) == pytest.approx(100)
    # Work that is done beside the devices' does not get faster with them.
    assert model.speedup_of_one_batch(replace(LOAD, beside_s=30.0), free, 10**6) < 2


def test_where_it_stops() -> None:
    slow = replace(CLUSTER, together=1, between_bytes_s=1e9, between_s=0.05)
    best = model.best_devices(LOAD, slow)
    times = {n: model.update_seconds(LOAD, slow, n, LOAD.batch / n) for n in range(1, 200)}
    assert 1 < best < 199 and times[best] == min(times.values())
    most = model.efficient_devices(LOAD, slow)
    assert model.speedup(LOAD, slow, most) >= most / 2
    assert model.speedup(LOAD, slow, most + 1) < (most + 1) / 2


def test_the_line_that_explains_a_speedup() -> None:
    """30 s of compute, 56 times on 100: 23.6 s for the gradients out and the weights back."""
    line = model.line_for(LOAD, CLUSTER, 100, 56.0)
    assert 8e9 / line == pytest.approx(30 * (100 / 56 - 1))


def test_sizes_are_those_of_the_published_networks() -> None:
    sizes = {load.name.split(",")[0]: load for load in model.workloads()}
    assert sizes["ResNet-50"].parameters == 25_557_032
    assert sizes["AlexNet"].parameters == 61_100_840
    # torchvision's table: 4.09 and 0.71 billion multiplications and additions.
    assert sizes["ResNet-50"].forward_flop == pytest.approx(2 * 4.09e9, rel=0.01)
    assert sizes["AlexNet"].forward_flop == pytest.approx(2 * 0.71e9, rel=0.01)


def test_the_page_shows_these_tables() -> None:
    text = PAGE.read_text(encoding="utf-8")
    for line in model.tables()[0].splitlines():
        assert line in text, line
