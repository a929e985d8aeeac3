"""Every form of a picture becomes the same tensor."""

import numpy as np
import pytest
import torch

from playground.inputs import averaged, centre, covering, fitted, to_batch


def test_to_batch_reads_arrays_channels_last_and_tensors_channels_first():
    assert to_batch(np.zeros((3, 5, 3), np.uint8)).shape == (1, 3, 3, 5)
    assert to_batch(torch.zeros(3, 5, 3)).shape == (1, 3, 5, 3)
    assert to_batch(torch.zeros(5, 7)).shape == (1, 1, 5, 7)


def test_covering_keeps_the_centre():
    ramp = torch.arange(8.0).expand(1, 1, 4, 8) / 8
    assert torch.equal(covering(ramp, (4, 4)), ramp[..., 2:6])
    assert covering(ramp, (2, 2)).mean() == pytest.approx(ramp[..., 2:6].mean())
    assert covering(ramp, (6, 3)).shape == (1, 1, 6, 3)
    assert centre(4, 8, (2, 2)) == (slice(0, 4), slice(2, 6))


def test_fitted_has_the_channels_and_the_size():
    colours = np.zeros((6, 6, 3), np.uint8)
    colours[..., 0] = 255
    grey = fitted([colours, colours[..., 0]], 1, (3, 3))
    assert grey.shape == (2, 1, 3, 3)
    assert grey[0].mean() == pytest.approx(0.299, abs=1e-4) and grey[1].min() == 1
    assert fitted(torch.rand(2, 1, 8, 4), 3, (5, 5)).shape == (2, 3, 5, 5)
    assert fitted(colours, 3, (6, 6)).is_contiguous(memory_format=torch.channels_last)


def test_places_are_averaged_by_what_they_cover() -> None:
    x = torch.arange(12.0).view(1, 1, 3, 4)
    assert averaged(x, (1, 2)).flatten().tolist() == [4.5, 6.5]
    assert averaged(x, (3, 4)).equal(x)
    rows = averaged(x, (2, 1)).flatten().tolist()  # the middle row is of both
    assert rows == [3.5, 7.5]
