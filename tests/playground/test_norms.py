"""Which layers keep statistics of batches, and what they keep. Several processes: test_ranks."""

from typing import Any

import pytest
import torch
from torch import nn

from playground import norms
from playground.update import Updates


class Parts(nn.Module):
    """A convolution's norm, a vector's, and one of each picture by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.pictures = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
        self.vectors = nn.BatchNorm1d(2)
        self.groups = nn.GroupNorm(1, 2)
        self.forgetful = nn.BatchNorm2d(2, track_running_stats=False)
        self.optimizers: dict[str, Any] = {}


@pytest.mark.parametrize("converted", [False, True])
def test_batch_norms_are_known_on_one_gpu_and_on_several(converted: bool) -> None:
    parts: Any = nn.SyncBatchNorm.convert_sync_batchnorm(Parts()) if converted else Parts()
    assert isinstance(parts.vectors, nn.SyncBatchNorm) is converted
    found = {name for name, module in parts.named_modules() if norms.is_batch_norm(module)}
    assert found == {"pictures.1", "vectors", "forgetful"}
    kept = {
        f"{name}.running_{which}" for name in ("pictures.1", "vectors") for which in ("mean", "var")
    }
    assert norms.statistics(parts).keys() == kept


def test_a_module_that_is_a_norm_itself() -> None:
    norm = nn.InstanceNorm2d(3, track_running_stats=True)
    assert norms.is_batch_norm(norm)
    assert norms.statistics(norm).keys() == {"running_mean", "running_var"}


def test_updates_guard_the_same_statistics() -> None:
    class Fabric:
        device = torch.device("cpu")

        class strategy:
            precision = None

    parts = nn.SyncBatchNorm.convert_sync_batchnorm(Parts())
    fabric: Any = Fabric()
    updates = Updates(parts, fabric, None, 1, None)
    own = {id(tensor) for tensor in norms.statistics(parts).values()}
    assert len(own) == 4 and {id(tensor) for tensor in updates.statistics} == own
