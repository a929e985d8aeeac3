"""Numbers on their way to a GPU and back, while the program goes on.

A copy runs beside the program only where its end in main memory is page-locked. PyTorch keeps such
memory for later use and gives none out that a copy still works on, so nothing here has to wait
before it is written anew. On a CPU nothing is page-locked, and nothing is on its way.
"""

import numpy as np
import torch
from torch import Tensor


def staging(size_bytes: int, device: torch.device) -> Tensor:
    """(size_bytes,) uint8 of main memory, unset, from which `device` can copy by itself."""
    return torch.empty(size_bytes, dtype=torch.uint8, pin_memory=device.type == "cuda")


def upload(source: np.ndarray | Tensor, device: torch.device) -> Tensor:
    """What is in main memory as a tensor on the device: a copy, save on a CPU, where it is itself.

    What the device does from now on finds it there, and `source` may be written at once.
    """
    tensor = torch.from_numpy(source) if isinstance(source, np.ndarray) else source
    if device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


class Download:
    """A tensor as it is now, on its way to main memory; `read` waits for this copy alone."""

    def __init__(self, tensor: Tensor) -> None:
        tensor = tensor.detach()
        self._arrived: torch.cuda.Event | None = None
        if tensor.device.type == "cuda":
            self._copy = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
            self._copy.copy_(tensor, non_blocking=True)
            self._arrived = torch.cuda.Event()
            self._arrived.record()
        else:
            self._copy = tensor.clone()

    def read(self) -> Tensor:
        """The tensor, on the CPU."""
        if self._arrived is not None:
            self._arrived.synchronize()
        return self._copy.cpu()
