"""Scores of generated pictures: by closed forms, by loops, and where little is given."""

import math

import numpy as np
import pytest
import scipy.linalg
import torch

from generators import gan_scores
from generators.gan_scores import LEAST, NEAREST, Features, Scorer, reach
from playground.backbone import create
from playground.data import Pictures


def cloud(count: int, width: int, seed: int, shift: float = 0.0, scale: float = 1.0):
    generator = torch.Generator().manual_seed(seed)
    mixed = torch.randn(width, width, generator=torch.Generator().manual_seed(99))
    return (torch.randn(count, width, generator=generator) @ mixed) * scale + shift


def frechet(a: np.ndarray, b: np.ndarray) -> float:
    """|m - n|² + trace(A + B - 2 sqrt(A B)) of means and covariances (Heusel et al. 2017)."""
    one, other = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root = scipy.linalg.sqrtm(one @ other)
    apart = a.mean(0) - b.mean(0)
    return float(apart @ apart + np.trace(one + other - 2 * np.real(root)))


def test_fid_is_the_closed_form():
    real, fake = cloud(300, 8, 0), cloud(200, 8, 1, shift=0.5, scale=1.5)
    expected = frechet(real.double().numpy(), fake.double().numpy())
    assert Scorer(real).score(fake)["fid"] == pytest.approx(expected, rel=1e-3)


def test_features_that_are_no_numbers_have_no_figures():
    """LAPACK ended the process with a segmentation fault."""
    fake = cloud(LEAST, 8, 1)
    fake[3, 2] = math.nan
    found = Scorer(cloud(LEAST, 8, 0)).score(fake)
    assert list(found) == ["fid", "kid", "precision", "recall", "coverage"]
    assert all(math.isnan(value) for value in found.values())


def test_kid_is_the_unbiased_estimate():
    """With as many of both as a subset has: a mean over pairs of the cubic kernel."""
    real, fake = cloud(LEAST, 6, 0).double(), cloud(LEAST, 6, 1, shift=0.3).double()

    def kernel(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return (a @ b.T / 6 + 1) ** 3

    pairs = LEAST * (LEAST - 1)
    within = sum(float(kernel(x, x).sum() - kernel(x, x).trace()) / pairs for x in (real, fake))
    expected = within - 2 * float(kernel(real, fake).mean())
    found = Scorer(real.float()).score(fake.float())["kid"]
    assert found == pytest.approx(expected, rel=1e-3)


def by_loops(real: torch.Tensor, fake: torch.Tensor) -> dict[str, float]:
    """Precision, recall (Kynkäänniemi et al. 2019) and coverage (Naeem et al. 2020), slowly."""

    def far(a: torch.Tensor, b: torch.Tensor) -> float:
        return math.dist(a.tolist(), b.tolist())

    def own(some: torch.Tensor, i: int) -> float:
        return sorted(far(some[i], x) for j, x in enumerate(some) if j != i)[NEAREST - 1]

    own_real = [own(real, i) for i in range(len(real))]
    own_fake = [own(fake, i) for i in range(len(fake))]
    near_real = [any(far(f, r) <= d for r, d in zip(real, own_real, strict=True)) for f in fake]
    near_fake = [any(far(f, r) <= d for f, d in zip(fake, own_fake, strict=True)) for r in real]
    covered = [any(far(f, r) <= d for f in fake) for r, d in zip(real, own_real, strict=True)]
    names = ("precision", "recall", "coverage")
    lists = (near_real, near_fake, covered)
    return {name: sum(found) / len(found) for name, found in zip(names, lists, strict=True)}


def test_precision_recall_and_coverage_as_defined():
    real, fake = cloud(70, 3, 0), cloud(66, 3, 1, shift=1.5)
    expected = by_loops(real, fake)
    assert all(0 < share < 1 for share in expected.values())
    found = Scorer(real).score(fake)
    assert {name: found[name] for name in expected} == pytest.approx(expected)


def test_forgetting_half_of_the_kinds_halves_recall_and_coverage():
    one, other = cloud(48, 4, 0), cloud(48, 4, 1, shift=1000.0)
    scorer = Scorer(torch.cat([one, other]))
    found = scorer.score(torch.cat([one, one]))
    assert (found["precision"], found["recall"], found["coverage"]) == (1, 0.5, 0.5)
    assert scorer.score(torch.cat([one, other]))["coverage"] == 1
    nothing = scorer.score(cloud(96, 4, 2, shift=-5000.0))
    assert (nothing["precision"], nothing["recall"], nothing["coverage"]) == (0, 0, 0)


def test_the_same_pictures_are_perfect():
    real = cloud(2100, 5, 0)  # more than are compared at once
    found = Scorer(real).score(real)
    assert found["fid"] == pytest.approx(0, abs=1e-3)
    assert abs(found["kid"]) < 0.01 * Scorer(real).score(real + 5)["kid"]
    assert found["precision"] == found["recall"] == found["coverage"] == 1


def test_another_half_of_the_same_is_nearly_perfect():
    found = Scorer(cloud(500, 5, 0)).score(cloud(500, 5, 1))
    assert found["fid"] < 0.5 and min(found["recall"], found["coverage"]) > 0.9


def test_parts_count_as_their_whole():
    real, fake = cloud(80, 5, 0), cloud(90, 5, 1)
    assert Scorer(real).score(iter(fake.split(7))) == Scorer(real).score(fake)


def test_scores_are_a_pure_function():
    real, fake = cloud(1100, 5, 0), cloud(1200, 5, 1)  # more than a subset of kid
    torch.manual_seed(0)
    before = torch.get_rng_state()
    first = Scorer(real).score(fake)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(1)
    assert Scorer(real).score(fake) == first


@pytest.mark.parametrize("width", [4, 160])
def test_always_finite_from_few_pictures_on(width):
    """Fewer than dimensions, alike, all the same: what breaks square roots of matrices."""
    some, flat = cloud(LEAST, width, 0), torch.full((LEAST, width), 3.7)
    nearly = flat + 1e-6 * some
    for real in (some, flat, nearly):
        scorer = Scorer(real)
        for fake in (cloud(LEAST, width, 1), flat, nearly, flat * 0, some * 1e3):
            found = scorer.score(fake)
            assert list(found) == ["fid", "kid", "precision", "recall", "coverage"]
            assert all(math.isfinite(value) for value in found.values()), found
            assert found["fid"] > -0.05


def test_too_few_pictures():
    with pytest.raises(ValueError, match="at least 64"):
        Scorer(cloud(LEAST - 1, 4, 0))
    with pytest.raises(ValueError, match="at least 64"):
        Scorer(cloud(LEAST, 4, 0)).score(cloud(LEAST - 1, 4, 0))


def test_reach_is_the_distance_to_the_fifth_other():
    line = torch.arange(20.0)[:, None]
    assert reach(line)[0] == 5 and reach(line)[10] == 3


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return create("arcade", width=0.25)


def test_features_are_the_layers_means(network):
    x = torch.rand(3, 3, 32, 48)
    with torch.no_grad():
        maps = network.features(x)
    assert torch.allclose(Features(network)(x), maps["relu4_2"].mean((2, 3)), atol=1e-6)
    two = Features(network, ("relu3_2", "relu1_1"))(x)
    expected = torch.cat([maps["relu3_2"].mean((2, 3)), maps["relu1_1"].mean((2, 3))], 1)
    assert torch.allclose(two, expected, atol=1e-6)
    assert not network.training and not any(p.requires_grad for p in network.parameters())
    assert not Features(network)(x.requires_grad_()).requires_grad


def test_features_take_grey_pictures_and_other_sizes(network):
    x = torch.rand(2, 1, 32, 32)
    features = Features(network)
    assert torch.allclose(features(x), features(x.expand(-1, 3, -1, -1)), atol=1e-6)
    larger = Features(network, size=64)
    flat = torch.full((1, 3, 32, 32), 0.3)
    full = torch.full((1, 3, 64, 64), 0.3)
    assert torch.allclose(larger(flat), features(full), atol=1e-5)


def test_features_of_a_set_are_spread_over_it(network, monkeypatch):
    monkeypatch.setattr(gan_scores, "BATCH", 3)
    pixels = torch.randint(0, 256, (20, 3, 32, 32), dtype=torch.uint8)
    pictures = Pictures(pixels, torch.zeros(20), ("a",))
    features = Features(network)
    everything = features.of(pictures, 99)
    assert torch.allclose(everything, features(pixels / 255), atol=1e-5)
    some = features.of(pictures, 4)
    assert torch.allclose(some, everything[[0, 6, 13, 19]], atol=1e-5)
