"""Random variations of training pictures: float (B, C, H, W) in [0, 1] -> the same, on any device.

Each picture of a batch gets draws of its own, from torch's generators only: their states are in
every checkpoint, so a resumed training sees the same variations.

Kornia draws affine maps, mirrors and erases. Three steps are written out here because Kornia's cost
a small network too much of its update (one CPU core, 128 pictures):
- affine and elastic maps go into one sampling grid: 2.5 ms at 28 px, instead of 7 for two steps,
  and the picture is interpolated once, which keeps it sharper;
- cropping copies views instead of warping: 0.9 ms at 32 px, instead of 2.1;
- brightness, contrast and saturation are one affine map of the colours: 0.5 ms, instead of 4.1.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from playground.errors import UserError, nearest

RECIPES = ("none", "digits", "photos")

# digits: about what Simard, Steinkraus & Platt ("Best Practices for Convolutional Neural Networks
# Applied to Visual Document Analysis", 2003) and Cireşan et al. (2010) use on MNIST.
DEGREES, SHIFT, SCALE, SHEAR_DEGREES = 12.0, 0.08, 0.12, 8.0  # shift: of the side; each up to ±
ELASTIC_SMOOTHNESS = 4 / 28  # of the side: sigma of the Gaussian that smooths the displacements
ELASTIC_SHIFT = 0.9 / 28  # of the side: standard deviation of each pixel's displacement

# photos: crops as for CIFAR-10 in He et al. 2016, erasing after Zhong et al. 2020.
MARGIN = 1 / 8  # of the side, by which crops move: 4 of 32 pixels
COLOUR = 0.2  # brightness, contrast and saturation are scaled by 1 ± this
ERASED, ERASED_ASPECT = (0.02, 0.2), (0.3, 3.3)  # part of the area; height over width


class Augment(nn.Module):
    """A recipe: "none", "digits" (no mirroring) or "photos". In eval mode pictures stay as is.

    It has no parameters and no state: nothing of it is in a state dict. UserError for an unknown
    recipe.
    """

    def __init__(self, recipe: str) -> None:
        super().__init__()
        if recipe not in RECIPES:
            raise UserError(
                f"There is no augmentation {recipe!r}; choose {', '.join(RECIPES)}."
                f"{nearest(recipe, RECIPES)}"
            )
        self.recipe = recipe
        if recipe == "none":
            return
        from kornia import augmentation as kornia  # 0.3 s, which not every command needs

        if recipe == "digits":
            scale = (1 - SCALE, 1 + SCALE)
            self._affine = kornia.RandomAffine(DEGREES, (SHIFT, SHIFT), scale, SHEAR_DEGREES, p=1.0)
        else:
            self._mirror = kornia.RandomHorizontalFlip()
            self._erase = kornia.RandomErasing(ERASED, ERASED_ASPECT, value=0.5)

    def forward(self, x: Tensor) -> Tensor:
        if self.recipe == "none" or not self.training:
            return x
        x = x.contiguous()  # the steps are up to three times as fast as on channels_last
        if self.recipe == "digits":
            return self._warp(x)
        return self._erase(self._mirror(recolour(random_crop(x))))

    def _warp(self, x: Tensor) -> Tensor:
        """Each picture through an affine map and an elastic one, in one bilinear interpolation."""
        from kornia.geometry.conversions import normalize_homography

        parameters = self._affine.forward_parameters(x.shape)
        pixel_map = self._affine.compute_transformation(x, parameters, self._affine.flags)
        size = (x.shape[2], x.shape[3])
        # Kornia's map leads from the old to the new place. It is read the other way round, which
        # spares an inversion: the inverse maps are drawn as often.
        unit_map = normalize_homography(pixel_map, size, size)[:, :2].to(x)
        grid = F.affine_grid(unit_map, list(x.shape), align_corners=True)  # (B, H, W, 2)
        return F.grid_sample(x, grid + elastic(x), align_corners=True)


def elastic(x: Tensor) -> Tensor:
    """Smooth random displacements (B, H, W, 2) for pictures (B, C, H, W), in units of their grid.

    Gaussian noise smoothed by a Gaussian (Simard et al. 2003), as products with two matrices; their
    rows have norm 1, so the standard deviation is ELASTIC_SHIFT everywhere, at borders too.
    """
    batch, _, height, width = x.shape
    smooth = []
    for n in (height, width):
        places = torch.arange(n, device=x.device, dtype=x.dtype)
        sigma = ELASTIC_SMOOTHNESS * n
        gaussian = torch.exp(-((places[:, None] - places) ** 2) / (2 * sigma**2))
        smooth.append(F.normalize(gaussian, dim=1) * (2 * ELASTIC_SHIFT) ** 0.5)  # grid: -1 to 1
    noise = torch.randn(batch, 2, height, width, device=x.device, dtype=x.dtype)
    return (smooth[0] @ noise @ smooth[1].T).permute(0, 2, 3, 1)


def random_crop(x: Tensor) -> Tensor:
    """Each picture (C, H, W) shifted by up to MARGIN of its sides; reflections fill the rest."""
    height, width = x.shape[2:]
    down, right = round(MARGIN * height), round(MARGIN * width)
    padded = F.pad(x, (right, right, down, down), mode="reflect")
    # Drawn on the CPU: slicing needs numbers, and fetching them from a GPU would wait for it.
    tops = torch.randint(2 * down + 1, (len(x),)).tolist()
    lefts = torch.randint(2 * right + 1, (len(x),)).tolist()
    crops = zip(padded, tops, lefts, strict=True)
    return torch.stack([p[:, top : top + height, left : left + width] for p, top, left in crops])


def recolour(x: Tensor) -> Tensor:
    """Saturation, contrast and brightness of each picture scaled by 1 ± COLOUR, in place.

    Saturation moves colours from or to their own grey, contrast from or to the picture's mean grey.
    """
    draws = torch.rand(3, len(x), 1, 1, 1, device=x.device, dtype=x.dtype)
    saturation, contrast, brightness = 1 + COLOUR * (2 * draws - 1)
    grey = x.mean(1, keepdim=True)
    mean = grey.mean((2, 3), keepdim=True)
    rest = contrast * (1 - saturation) * grey + (1 - contrast) * mean
    return x.mul_(saturation * contrast * brightness).add_(brightness * rest).clamp_(0, 1)
