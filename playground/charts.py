"""Charts as inline SVG for the gallery's page: curves over steps, and bars.

Colours and letters come from the page's style: class `line` for what comes first, `second` around
what comes second, and where there are more the classes `colour-0` to `colour-7`. Everything drawn
is also told in words, for those who do not see it.
"""

import html
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Points = list[tuple[float, float]]  # (step, value)

POINTS = 240  # a curve of more is drawn as means over as many stretches, with the range
DOTS = 40  # up to so many points are marked

# The chart's box, in its own units, and the room for its axes.
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 420, 220, 52, 12, 12, 28
ROW, FIGURES = 18, 96  # a bar's height, the room right of it
LETTER, NAMES = 6, 190  # a letter's width, about; the room left of bars at most
COLOURS = 8  # of the page's style
REACH = 0.5  # a level so far out of the curves' range, in parts of it, is still drawn

Scale = Callable[[Any], Any]


@dataclass(frozen=True)
class Line:
    """A curve among several: at least one point (x, y), and (low, high) at each if it has a band.

    `colour` counts from 0; what is `dashed` is somebody else's.
    """

    name: str
    points: Points
    band: Sequence[tuple[float, float]] = ()
    colour: int = 0
    dashed: bool = False


@dataclass(frozen=True)
class Level:
    """A value to compare with, the same everywhere."""

    name: str
    value: float
    colour: int = 0


def curves(lines: Mapping[str, Points], unit: str) -> str:
    """One or two curves over steps of that unit, each of at least two steps: a figure."""
    arrays = {key: np.array(points, float).T for key, points in lines.items()}
    xs, ys = np.concatenate(list(arrays.values()), axis=1)
    x_range, y_range = (xs.min(), xs.max()), (ys.min(), ys.max())
    at_x, at_y = _scales(x_range, y_range, HEIGHT - BOTTOM)
    axes = _y_axis(y_range, at_y) + _x_axis(x_range, at_x, HEIGHT - 8)
    # The second curve is drawn first: it lies behind.
    shapes = [_curve(x, y, at_x, at_y) for x, y in arrays.values()]
    drawn = "".join(f'<g class="second">{shape}</g>' for shape in shapes[1:]) + shapes[0]
    label = "; ".join(f"{key} over {unit}: {_told(*array)}" for key, array in arrays.items())
    return _figure(_keys(list(lines)) + f" over {_text(unit)}", label, HEIGHT, axes + drawn)


def plot(
    title: str,
    lines: Sequence[Line],
    unit: str,
    levels: Sequence[Level] = (),
    also: tuple[str, float] | None = None,
    span: Sequence[float] = (),
) -> str:
    """Any number of curves over x in that unit, with a legend: a figure.

    A level far above or below the curves is told in the legend alone. `also` is a second unit of x
    and how many of it one of the first is; its figures stand below the first's. `span`: values that
    the y-axis shows in any case.
    """
    xs, ys = np.concatenate([np.array(line.points, float) for line in lines]).T
    seen = [ys, *(np.array(line.band, float).ravel() for line in lines)]
    low, high = np.concatenate(seen).min(), np.concatenate(seen).max()
    reach = REACH * (high - low)
    drawn_levels = [level for level in levels if low - reach <= level.value <= high + reach]
    values = [low, high, *span, *(level.value for level in drawn_levels)]
    x_range, y_range = _wide(xs.min(), xs.max()), _wide(min(values), max(values))
    bottom = HEIGHT - BOTTOM
    at_x, at_y = _scales(x_range, y_range, bottom)
    drawn = _y_axis(y_range, at_y) + _x_axis(x_range, at_x, HEIGHT - 8)
    height, over = HEIGHT, unit
    if also:
        height, over = HEIGHT + 16, f"{unit}, below in {also[0]}"
        drawn += _x_axis(x_range, at_x, HEIGHT + 8, also[1])
    for level in drawn_levels:
        y = f"{at_y(level.value):.1f}"
        drawn += f'<line class="level colour-{level.colour % COLOURS}" x1="{LEFT}" '
        drawn += f'x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}"/>'
    # The first is drawn last: it lies in front.
    drawn += "".join(_shape(line, at_x, at_y) for line in reversed(lines))
    told = [f"{line.name}: {_told(*np.array(line.points, float).T)}" for line in lines]
    legend = [_key(line.name, line.colour, "- - " if line.dashed else "") for line in lines]
    for level in levels:
        where = "" if level in drawn_levels else ", above" if level.value > high else ", below"
        text = f"{level.name} {short(level.value)}{where}"
        told.append(text)
        legend.append(_key(text, level.colour, "" if where else "· · "))
    heading = f"<b>{_text(title)}</b> over {_text(over)}<br>" + ", ".join(legend)
    return _figure(heading, f"{title} over {unit}: {'; '.join(told)}", height, drawn)


def _key(name: str, colour: int, mark: str) -> str:
    return f'<b class="colour-{colour % COLOURS}">{mark}{_text(name)}</b>'


def _shape(line: Line, at_x: Scale, at_y: Scale) -> str:
    """A curve of `plot`: its band, its line, and its points where they are few."""
    x, y = np.array(line.points, float).T
    drawn = ""
    if line.band:
        low, high = np.array(line.band, float).T
        edge = _joined(at_x(np.concatenate([x, x[::-1]])), at_y(np.concatenate([high, low[::-1]])))
        drawn += f'<polygon class="band" points="{edge}"/>'
    drawn += f'<polyline class="line" points="{_joined(at_x(x), at_y(y))}"/>'
    if len(x) <= DOTS:
        drawn += _dots(at_x(x), at_y(y))
    kind = " dashed" if line.dashed else ""
    return f'<g class="colour-{line.colour % COLOURS}{kind}">{drawn}</g>'


def _wide(low: float, high: float) -> tuple[float, float]:
    """A range that a scale can be made of."""
    if high > low:
        return low, high
    margin = 0.05 * abs(low) or 1.0
    return low - margin, high + margin


def _scales(
    x_range: tuple[float, float], y_range: tuple[float, float], bottom: float
) -> tuple[Scale, Scale]:
    """From values to places in the figure."""

    def at_x(value: Any) -> Any:
        return LEFT + (value - x_range[0]) / (x_range[1] - x_range[0]) * (WIDTH - LEFT - RIGHT)

    def at_y(value: Any) -> Any:
        return bottom - (value - y_range[0]) / (y_range[1] - y_range[0]) * (bottom - TOP)

    return at_x, at_y


def _y_axis(y_range: tuple[float, float], at_y: Scale) -> str:
    return "".join(
        f'<line class="rule" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at_y(y):.1f}" '
        f'y2="{at_y(y):.1f}"/><text x="{LEFT - 6}" y="{at_y(y) + 4:.1f}" '
        f'text-anchor="end">{short(y)}</text>'
        for y in ticks(*y_range)
    )


def _x_axis(x_range: tuple[float, float], at_x: Scale, y: float, factor: float = 1) -> str:
    """Figures below the curves, each `factor` times what the scale has there."""
    return "".join(
        f'<text x="{at_x(x):.1f}" y="{y}" text-anchor="middle">{short(x * factor)}</text>'
        for x in ticks(*x_range)
    )


def _joined(xs: np.ndarray, ys: np.ndarray) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in zip(xs, ys, strict=True))


def _dots(xs: np.ndarray, ys: np.ndarray) -> str:
    return "".join(
        f'<circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="2.5"/>'
        for x, y in zip(xs, ys, strict=True)
    )


def _curve(xs: np.ndarray, ys: np.ndarray, at_x: Scale, at_y: Scale) -> str:
    """A line of means, and where points were merged the range behind it."""
    order = np.argsort(xs, kind="stable")
    stretches = np.array_split(order, min(len(order), POINTS))
    x = np.array([xs[part].mean() for part in stretches])
    low, mean, high = (
        np.array([of(ys[part]) for part in stretches]) for of in (np.min, np.mean, np.max)
    )

    shape = f'<polyline class="line" points="{_joined(at_x(x), at_y(mean))}"/>'
    if len(xs) > POINTS:
        edge = _joined(at_x(np.concatenate([x, x[::-1]])), at_y(np.concatenate([high, low[::-1]])))
        return f'<polygon class="band" points="{edge}"/>{shape}'
    if len(xs) <= DOTS:
        shape += _dots(at_x(x), at_y(mean))
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
