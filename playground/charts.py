"""Charts as inline SVG for the gallery's page: curves over steps, and bars.

Colours and letters come from the page's style: class `line` for what comes first, `second` around
what comes second. Everything drawn is also told in words, for those who do not see it.
"""

import html
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

Points = list[tuple[float, float]]  # (step, value)

POINTS = 240  # a curve of more is drawn as means over as many stretches, with the range
DOTS = 40  # up to so many points are marked

# The chart's box, in its own units, and the room for its axes.
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 420, 220, 52, 12, 12, 28
ROW, FIGURES = 18, 96  # a bar's height, the room right of it
LETTER, NAMES = 6, 190  # a letter's width, about; the room left of bars at most


def curves(lines: Mapping[str, Points], unit: str) -> str:
    """One or two curves over steps of that unit, each of at least two steps: a figure."""
    arrays = {key: np.array(points, float).T for key, points in lines.items()}
    xs, ys = np.concatenate(list(arrays.values()), axis=1)
    x_range, y_range = (xs.min(), xs.max()), (ys.min(), ys.max())

    def at_x(value: Any) -> Any:
        return LEFT + (value - x_range[0]) / (x_range[1] - x_range[0]) * (WIDTH - LEFT - RIGHT)

    def at_y(value: Any) -> Any:
        share = (value - y_range[0]) / (y_range[1] - y_range[0])
        return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)

    axes = "".join(
        f'<line class="rule" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at_y(y):.1f}" '
        f'y2="{at_y(y):.1f}"/><text x="{LEFT - 6}" y="{at_y(y) + 4:.1f}" '
        f'text-anchor="end">{short(y)}</text>'
        for y in ticks(*y_range)
    )
    axes += "".join(
        f'<text x="{at_x(x):.1f}" y="{HEIGHT - 8}" text-anchor="middle">{short(x)}</text>'
        for x in ticks(*x_range)
    )
    # The second curve is drawn first: it lies behind.
    shapes = [_curve(x, y, at_x, at_y) for x, y in arrays.values()]
    drawn = "".join(f'<g class="second">{shape}</g>' for shape in shapes[1:]) + shapes[0]
    label = "; ".join(f"{key} over {unit}: {_told(*array)}" for key, array in arrays.items())
    return _figure(_keys(list(lines)) + f" over {_text(unit)}", label, HEIGHT, axes + drawn)


def _curve(xs: np.ndarray, ys: np.ndarray, at_x: Any, at_y: Any) -> str:
    """A line of means, and where points were merged the range behind it."""
    order = np.argsort(xs, kind="stable")
    stretches = np.array_split(order, min(len(order), POINTS))
    x = np.array([xs[part].mean() for part in stretches])
    low, mean, high = (
        np.array([of(ys[part]) for part in stretches]) for of in (np.min, np.mean, np.max)
    )

    def line(x: np.ndarray, y: np.ndarray) -> str:
        return " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(at_x(x), at_y(y), strict=True))

    shape = f'<polyline class="line" points="{line(x, mean)}"/>'
    if len(xs) > POINTS:
        band = line(np.concatenate([x, x[::-1]]), np.concatenate([high, low[::-1]]))
        return f'<polygon class="band" points="{band}"/>{shape}'
    if len(xs) <= DOTS:
        shape += "".join(
            f'<circle class="dot" cx="{at_x(a):.1f}" cy="{at_y(b):.1f}" r="2.5"/>'
            for a, b in zip(x, mean, strict=True)
        )
    return shape


def _told(xs: np.ndarray, ys: np.ndarray) -> str:
    first, last = np.argmin(xs), len(xs) - 1 - np.argmax(xs[::-1])
    return (
        f"{short(ys[first])} at {short(xs[first])}, {short(ys[last])} at {short(xs[last])}; "
        f"lowest {short(ys.min())}, highest {short(ys.max())}"
    )


def bars(title: str, unit: str, rows: Sequence[Mapping[str, Any]], shares: bool = False) -> str:
    """Rows {"name": text, part: number, ...} as bars, their parts one after another: a figure.

    With `shares` each also tells its part of all bars together, in percent.
    """
    parts = [key for key in rows[0] if key != "name"] if rows else []
    sums = [sum(float(row[part]) for part in parts) for row in rows]
    longest, total = max([*sums, 1e-12]), sum(sums) or 1e-12
    left = min(NAMES, 10 + LETTER * max([len(str(row["name"])) for row in rows], default=0))
    scale = (WIDTH - left - FIGURES) / longest
    drawn, told = "", []
    for number, (row, whole) in enumerate(zip(rows, sums, strict=True)):
        y, x = TOP + number * ROW, float(left)
        figure = f"{short(whole)} {unit}" + (f", {100 * whole / total:.0f} %" if shares else "")
        told.append(f"{row['name']} {figure}")
        name = _text(row["name"])
        drawn += f'<text x="{left - 6}" y="{y + 12}" text-anchor="end">{name}</text>'
        for part, kind in zip(parts, ("first", "other"), strict=False):
            width = float(row[part]) * scale
            drawn += f'<rect class="{kind}" x="{x:.1f}" y="{y + 2}" width="{width:.1f}" '
            drawn += f'height="{ROW - 5}"/>'
            x += width
        drawn += f'<text x="{x + 6:.1f}" y="{y + 12}">{_text(figure)}</text>'
    height = TOP + ROW * len(rows) + 4
    heading = f"<b>{_text(title)}</b> {_keys(parts) if len(parts) > 1 else ''}"
    return _figure(heading, f"{title}: {'; '.join(told)}", height, drawn)


def _keys(names: Sequence[str]) -> str:
    """Names in the colours of what they name."""
    if len(names) == 1:
        return f"<b>{_text(names[0])}</b>"
    kinds = ("first", "other")
    return ", ".join(
        f'<b class="{kind}">{_text(name)}</b>' for name, kind in zip(names, kinds, strict=False)
    )


def _figure(heading: str, label: str, height: float, drawn: str) -> str:
    return (
        f"<figure><figcaption>{heading}</figcaption>"
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{_text(label)}">'
        f"{drawn}</svg></figure>"
    )


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers within low..high."""
    raw = (high - low) / about
    size = 10.0 ** math.floor(math.log10(raw))
    step = next(size * factor for factor in (1, 2, 5, 10) if size * factor >= raw * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [i * step for i in range(first, last + 1)]


def short(value: float) -> str:
    """A figure in few characters: 1.5M, 20k, 0.05, 2.5e-05."""
    for size, sign in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= size:
            return f"{value / (1e3 if sign == 'k' else size):.4g}{sign}"
    return f"{value:.4g}"


def _text(value: Any) -> str:
    """Safe as text and inside quotes."""
    return html.escape(str(value), quote=True)
