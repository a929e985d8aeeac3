"""What a painter can do, to look at: contents by styles, from style to style, before and after."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np

from generators.painter import Painter
from playground.gallery import contact_sheet
from playground.media import encode_image
from playground.page import escaped, slider, write_html

BLENDS = 5  # pictures of a strip between two styles, both included
CELL_PX = 240  # longer side of a sheet's pictures, unless asked otherwise

Named = Sequence[tuple[str, np.ndarray]]
"""Pictures (H, W, 3) uint8 with their names."""


def sheet(painter: Painter, contents: Named, styles: Sequence[str]) -> np.ndarray:
    """Each content in a row: itself, then painted in each style. (H, W, 3) uint8."""
    cells, labels = [], []
    for name, pixels in contents:
        cells += [pixels, *(painter.paint(pixels, painter.mixture(style)) for style in styles)]
        labels += [name, *styles]
    return contact_sheet(cells, 1 + len(styles), labels)


def strip(painter: Painter, contents: Named, styles: Sequence[str]) -> np.ndarray:
    """Each content in a row for two styles, and another row from each further style to the next."""
    cells, labels = [], []
    for _, pixels in contents:
        for one, other in pairwise(styles):
            for step in range(BLENDS):
                share = step / (BLENDS - 1)
                blend = {s: weight for s, weight in ((one, 1 - share), (other, share)) if weight}
                cells.append(painter.paint(pixels, painter.mixture(blend)))
                labels.append(" + ".join(f"{weight:.0%} {s}" for s, weight in blend.items()))
    return contact_sheet(cells, BLENDS, labels)


def write_sliders(out: Path, painter: Painter, contents: Named, styles: Sequence[str]) -> None:
    """A page (.html) of every content in every style, its original over it: drag the corner."""
    credits = {credit.name: credit.told for credit in painter.credits}
    sections = []
    for style in styles:
        figures = []
        for name, pixels in contents:
            after = encode_image(painter.paint(pixels, painter.mixture(style)))
            pair = slider(encode_image(pixels), after, f"{name}, {style}")
            figures.append(f"<figure>{pair}<figcaption>{escaped(name)}</figcaption></figure>")
        sections.append(
            f"<section><h2>{escaped(style)}</h2><p>{escaped(credits[style])}</p>"
            f'<div class="pictures">{"".join(figures)}</div></section>'
        )
    write_html(out, "Painted", "\n".join(sections))
