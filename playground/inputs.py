"""Pictures as people have them -> float (N, C, H, W) in [0, 1], of the channels and size wanted.

Taken are uint8 (H, W, C) arrays, one or several of a size, float (N, C, H, W) in [0, 1], the path
of a picture file, and lists of these, of any sizes.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from playground.backbone import to_unit
from playground.errors import UserError
from playground.media import read_image

LUMA = (0.299, 0.587, 0.114)  # weights of R, G, B in brightness (ITU-R BT.601)


def fitted(images: Any, channels: int, size: tuple[int, int]) -> Tensor:
    """Pictures of any form as (N, channels, *size), channels_last: see `covering`.

    `channels` 1 or 3: colours become grey, grey is repeated. UserError for what is no picture.
    """
    if isinstance(images, str | Path):
        images = read_image(images, size)
    if isinstance(images, list | tuple):
        if not images:
            raise UserError("There is no picture to look at.")
        return torch.cat([fitted(image, channels, size) for image in images])
    unit = to_batch(images)
    if unit.shape[1] > channels:
        unit = (unit * torch.tensor(LUMA, device=unit.device)[:, None, None]).sum(1, True)
    unit = covering(unit, size).expand(-1, channels, -1, -1)
    return unit.contiguous(memory_format=torch.channels_last)


def to_batch(images: Any) -> Tensor:
    """One picture or several of one size as float (N, C, H, W) in [0, 1]; UserError otherwise.

    uint8 or float, with 1 or 3 channels, first or last; without, grey. Where both readings fit,
    uint8 arrays are read channels last, as pictures are stored, and all else channels first.
    """
    pixels = images if isinstance(images, Tensor) else torch.from_numpy(np.array(images))
    is_float, is_array = pixels.is_floating_point(), not isinstance(images, Tensor)
    if pixels.dim() == 2:
        pixels = pixels[None]
    if pixels.dim() == 3:
        pixels = pixels[None]
    right = pixels.dim() == 4 and pixels.numel() and (is_float or pixels.dtype == torch.uint8)
    first, last = (right and pixels.shape[side] in (1, 3) for side in (1, 3))
    if not (first or last):
        raise UserError(
            "Pictures are uint8 arrays (H, W, C) or float (N, C, H, W) in [0, 1], with 1 or 3 "
            f"channels, not {tuple(pixels.shape)} {pixels.dtype}."
        )
    if last and (not first or (is_array and not is_float)):
        pixels = pixels.permute(0, 3, 1, 2)
    if not is_float:
        return to_unit(pixels)
    check_unit(pixels)
    return pixels.float()


def check_unit(pixels: Tensor) -> None:
    """UserError for float pictures that reach beyond [0, 1]."""
    if not (pixels.min() >= 0 and pixels.max() <= 1):
        low, high = pixels.min().item(), pixels.max().item()
        raise UserError(f"Float pictures lie in [0, 1]; these reach from {low:g} to {high:g}.")


def covering(unit: Tensor, size: tuple[int, int]) -> Tensor:
    """(N, C, H, W) -> (N, C, *size): scaled to cover it, antialiased; the centre kept."""
    height, width = unit.shape[2:]
    if (height, width) == tuple(size):
        return unit
    rows, columns = centre(height, width, size)
    fitted = F.interpolate(
        unit[:, :, rows, columns], size, mode="bilinear", antialias=True, align_corners=False
    )
    return fitted.clamp_(0, 1)


def averaged(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """(N, C, H, W) -> (N, C, *size): means of what each of the new places covers.

    Apple's GPUs have it only for sides that the new ones divide, so there the CPU does it.
    """
    where = maps.cpu() if maps.device.type == "mps" else maps
    return F.adaptive_avg_pool2d(where, size).to(maps.device)


def centre(height: int, width: int, size: tuple[int, int]) -> tuple[slice, slice]:
    """Rows and columns of a picture that `covering` keeps: its middle, of the shape of `size`."""
    scale = min(height / size[0], width / size[1])
    h, w = (max(1, round(scale * side)) for side in size)
    top, left = (height - h) // 2, (width - w) // 2
    return slice(top, top + h), slice(left, left + w)
