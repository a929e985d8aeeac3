"""Copies to a device and back hold what was there when they were asked for."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from playground.transfer import Download, staging, upload

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]


@pytest.mark.parametrize("name", DEVICES)
def test_there_and_back(name: str) -> None:
    device = torch.device(name)
    halves = np.full(1, 0.5, np.float32)
    for array in (np.arange(6).reshape(2, 3), halves, np.ones(2, bool)):
        there = upload(array, device)
        assert there.device.type == name
        back = Download(there).read()
        assert back.device.type == "cpu"
        np.testing.assert_array_equal(back.numpy(), array)
        assert back.numpy().dtype == array.dtype
        part = torch.from_numpy(array)[:1]  # a tensor, a part of another's memory
        assert torch.equal(upload(part, device).cpu(), part)


@pytest.mark.parametrize("name", DEVICES)
def test_a_download_is_of_its_own_moment(name: str) -> None:
    """What is replayed writes its outputs anew before the last ones were read."""
    tensor = torch.zeros(1000, device=name, requires_grad=True)
    download = Download(tensor)
    with torch.no_grad():
        tensor.fill_(7)
    later = Download(tensor)
    assert not download.read().any() and (later.read() == 7).all()
    assert not download.read().requires_grad


@pytest.mark.gpu
def test_nothing_waits_for_a_gpu() -> None:
    device, array = torch.device("cuda"), np.arange(1000)
    assert staging(10, device).is_pinned()
    torch.cuda.set_sync_debug_mode("error")
    try:
        there = upload(array, device)
        array[:] = 0  # read already
        download = Download(there * 2)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    np.testing.assert_array_equal(download.read().numpy(), 2 * np.arange(1000))


def test_a_cpus_staging_is_plain_memory() -> None:
    assert staging(10, torch.device("cpu")).shape == (10,)
