"""The optimizer against the paper's formula written as a loop, and where rounding is hardest."""

import copy
import math

import pytest
import torch

from agents.rmsprop import EPSILON, CenteredRMSprop


def by_hand(
    start: list[float], grads: list[list[float]], lr: float, alpha: float, eps: float
) -> list[float]:
    """Each parameter after all updates, in Python's float64."""
    ends = []
    for i, p in enumerate(start):
        mean = square = 0.0
        for row in grads:
            g = row[i]
            mean = alpha * mean + (1 - alpha) * g
            square = alpha * square + (1 - alpha) * g**2
            p -= lr * g / math.sqrt(square - mean**2 + eps)
        ends.append(p)
    return ends


def update(params: list[torch.Tensor], optimizer: CenteredRMSprop, row: torch.Tensor) -> None:
    """One step with `row` cut over the parameters as their gradients."""
    sizes = [p.numel() for p in params]
    for p, grad in zip(params, row.split(sizes), strict=True):
        p.grad = grad.reshape(p.shape).clone()
    optimizer.step()


def parameters(dtype: torch.dtype = torch.float64) -> list[torch.Tensor]:
    values = torch.arange(7, dtype=dtype) / 3 - 1
    return [torch.nn.Parameter(part) for part in (values[:6].reshape(2, 3), values[6:])]


def gradients(steps: int) -> torch.Tensor:
    scales = torch.tensor([1e-4, 1e-2, 1.0, 10.0, 1.0, 0.0, 1e3], dtype=torch.float64)
    generator = torch.Generator().manual_seed(0)
    return torch.randn(steps, 7, dtype=torch.float64, generator=generator) * scales + scales / 2


@pytest.mark.parametrize(
    "settings", [{}, {"lr": 0.1, "alpha": 0.9, "eps": 0.01}, {"lr": 1.0, "alpha": 0.0, "eps": 1.0}]
)
def test_follows_the_formula(settings: dict[str, float]) -> None:
    params, grads = parameters(), gradients(40)
    start = torch.cat([p.detach().flatten() for p in params]).tolist()
    optimizer = CenteredRMSprop(params, **settings)
    for row in grads:
        update(params, optimizer, row)
    used = {"lr": 2.5e-4, "alpha": 0.95, "eps": 0.01 / 1024} | settings
    expected = by_hand(start, grads.tolist(), **used)
    found = torch.cat([p.detach().flatten() for p in params])
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64))


def test_a_mean_with_our_epsilon_steps_as_a_sum_with_deepminds() -> None:
    ours, theirs, grads = parameters(), parameters(), gradients(20)
    mean, total = CenteredRMSprop(ours), CenteredRMSprop(theirs, eps=0.01)
    for row in grads:
        update(ours, mean, row)
        update(theirs, total, 32 * row)
    assert pytest.approx(0.01 / 1024) == EPSILON
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("size", [1e-30, 0.1, 3.3, 1234.567, 1e6])
def test_a_constant_gradient_stays_finite(size: float) -> None:
    """Its variance is 0, and what rounding makes of it may be negative by more than epsilon."""
    params = [torch.nn.Parameter(torch.zeros(64))]
    optimizer = CenteredRMSprop(params)
    row = size * torch.linspace(0.5, 1.5, 64)
    for _ in range(2000):
        update(params, optimizer, row)
        assert torch.isfinite(params[0]).all()
    # the means have settled: by the least that the root can be, a step is lr * g / sqrt(eps)
    before = params[0].detach().clone()
    update(params, optimizer, row)
    limit = 2.5e-4 * row / math.sqrt(EPSILON)
    assert ((before - params[0]).abs() <= 1.001 * limit + 1e-6 * before.abs()).all()


def test_its_state_continues_bit_for_bit() -> None:
    params, grads = parameters(torch.float32), gradients(20).float()
    optimizer = CenteredRMSprop(params, lr=0.01)
    for row in grads[:10]:
        update(params, optimizer, row)
    copies = [torch.nn.Parameter(p.detach().clone()) for p in params]
    resumed = CenteredRMSprop(copies, lr=0.5)
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    assert resumed.param_groups[0]["lr"] == 0.01
    for row in grads[10:]:
        update(params, optimizer, row)
        update(copies, resumed, row)
    assert all(torch.equal(a, b) for a, b in zip(params, copies, strict=True))
    assert not torch.equal(params[0], parameters(torch.float32)[0])


def test_parameters_without_a_gradient_stay_and_a_closure_is_run() -> None:
    first, second = (torch.nn.Parameter(torch.ones(2)) for _ in range(2))
    optimizer = CenteredRMSprop([{"params": [first]}, {"params": [second], "lr": 0.1}])

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = (second**2).sum()
        loss.backward()
        return loss

    assert optimizer.step(closure).item() == 2
    assert first.tolist() == [1, 1] and first not in optimizer.state
    # means 0.05 * 2 and 0.05 * 4 of a gradient of 2
    step = 0.1 * 2 / math.sqrt(0.2 - 0.01 + EPSILON)
    torch.testing.assert_close(second.detach(), torch.full((2,), 1 - step))


@pytest.mark.parametrize("wrong", [{"lr": -1.0}, {"alpha": 1.0}, {"eps": 0.0}])
def test_impossible_settings_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="needs lr"):
        CenteredRMSprop([torch.nn.Parameter(torch.ones(1))], **wrong)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_step_that_is_not_finite_can_be_left_out_unread(dtype: torch.dtype) -> None:
    """By `found_inf`, as in PyTorch's fused optimizers; other steps stay the same bit for bit."""
    plain, heeding = parameters(dtype), parameters(dtype)
    one, other = CenteredRMSprop(plain), CenteredRMSprop(heeding)
    grads = gradients(20).to(dtype)
    for number, row in enumerate(grads):
        bad = number in (0, 7, 8)
        if not bad:
            update(plain, one, row)
        other.found_inf = torch.tensor(float(bad))  # type: ignore[attr-defined]
        if bad:
            row = torch.where(torch.arange(7) % 3 == 0, torch.nan, torch.inf * row)
        update(heeding, other, row)
        assert all(map(torch.equal, plain, heeding)), number
    for name in ("grad_mean", "square_mean"):
        for a, b in zip(plain, heeding, strict=True):
            assert torch.equal(one.state[a][name], other.state[b][name])


def test_gradients_that_are_still_scaled_are_refused() -> None:
    params = parameters()
    optimizer = CenteredRMSprop(params)
    optimizer.grad_scale = torch.tensor(8.0)  # type: ignore[attr-defined]
    with pytest.raises(RuntimeError, match="unscaled"):
        update(params, optimizer, gradients(1)[0])
