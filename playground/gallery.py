"""Contact sheets, and a page of runs: films, pictures, curves and settings in one HTML file.

The page needs nothing but itself: pictures and films are inside (base64), curves are inline SVG,
there is no script, and its content policy forbids the network. Large films alone are linked.
"""

import base64
import html
import json
import math
import os
import re
import urllib.parse
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from playground.errors import UserError
from playground.media import INK, PANEL, draw_text, text_width, to_pixels
from playground.run import Run, atomic_path, writing

TYPES = {
    ".mp4": "video/mp4",
    ".gif": "image/gif",
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
}
EMBED_BYTES = 25_000_000  # a larger film or picture is linked
PAGE_BYTES = 100_000_000  # what all embedded files may take; from then on all are linked
POINTS = 240  # a curve of more is drawn as means over as many stretches, with the range
LETTERS_PX = 12

# The chart's box, in its own units, and the room for its axes.
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 420, 220, 52, 12, 12, 28

Points = list[tuple[float, float]]


def contact_sheet(
    images: Sequence[Any],
    columns: int,
    labels: Sequence[str] | None = None,
    padding: int = 4,
) -> np.ndarray:
    """Pictures in rows of `columns`, a label below each: (H, W, 3) uint8.

    `images` are whatever `to_pixels` takes, of any sizes: a cell is as large as the largest, and
    pictures stand in its middle. `padding` is in pixels, around every cell.
    """
    pictures = [to_pixels(image) for image in images]
    if not pictures or columns < 1:
        raise ValueError("a contact sheet needs a picture and a column")
    if labels is not None and len(labels) != len(pictures):
        raise ValueError(f"{len(labels)} labels for {len(pictures)} pictures")
    height = max(picture.shape[0] for picture in pictures)
    width = max(picture.shape[1] for picture in pictures)
    pitch = (height + padding + (LETTERS_PX + 4 if labels else 0), width + padding)
    columns = min(columns, len(pictures))
    rows = math.ceil(len(pictures) / columns)
    shape = (rows * pitch[0] + padding, columns * pitch[1] + padding, 3)
    sheet = np.full(shape, PANEL, np.uint8)
    for place, picture in enumerate(pictures):
        y, x = (padding + place // columns * pitch[0], padding + place % columns * pitch[1])
        top = y + (height - picture.shape[0]) // 2
        left = x + (width - picture.shape[1]) // 2
        sheet[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
        if labels:
            cell = sheet[y + height : y + height + LETTERS_PX + 4, x : x + width]
            cell[:] = draw_text(cell, _fit(labels[place], width), (0, 2), LETTERS_PX, INK)
    return sheet


def _fit(text: str, width: int) -> str:
    """The text, or as much of it as `width` pixels hold."""
    if text_width(text, LETTERS_PX) <= width:
        return text
    while text and text_width(text + "...", LETTERS_PX) > width:
        text = text[:-1]
    return text + "..."


def write_page(
    runs: Sequence[Path | str],
    out: Path | str,
    title: str = "Gallery",
    commands: Sequence[str] = (),
) -> None:
    """Write one page about the runs to `out` (.html), aside and renamed.

    Every numeric figure of metrics.jsonl becomes a curve over the steps, if it varies; films come
    from a run's `videos/`, pictures from its `gallery/`. `commands` are shown at the top, to copy.
    UserError when a run is none, or the page cannot be written.
    """
    out = Path(out)
    if out.suffix.lower() not in (".html", ".htm"):
        raise UserError(f"The page is written as .html, not {out.name!r}.")
    opened = [Run.open(path) for path in runs]
    room = [PAGE_BYTES]
    sections = "\n".join(_section(run, i, out, room) for i, run in enumerate(opened))
    links = [f'<a href="#run-{i}">{_text(run.name)}</a>' for i, run in enumerate(opened)]
    contents = f'<nav aria-label="Runs">{" ".join(links)}</nav>' if len(links) > 1 else ""
    shell = f"<pre><code>{_text(chr(10).join(commands))}</code></pre>" if commands else ""
    page = PAGE.format(
        title=_text(title), style=STYLE, contents=contents, commands=shell, sections=sections
    )
    with atomic_path(out) as aside:
        aside.write_text(page, encoding="utf-8")


def _section(run: Run, number: int, out: Path, room: list[int]) -> str:
    """One run: heading, curves, films, pictures, settings."""
    settings = run.settings
    about = [settings.get("task"), settings.get("created"), settings.get("device")]
    facts = " · ".join(_text(fact) for fact in about if fact)
    series = _series(run.metrics())
    unit = settings.get("unit", "steps")
    charts = "".join(_chart(key, points, unit) for key, points in series.items() if _varies(points))
    films = _media(run, "videos", out, room)
    pictures = _media(run, "gallery", out, room)
    parts = [
        f'<section aria-labelledby="run-{number}"><h2 id="run-{number}">{_text(run.name)}</h2>',
        f"<p>{facts}</p>",
        _grid("Films", films),
        _grid("Curves", charts),
        _grid("Pictures", pictures, "grid large"),
        _figures(series),
        _settings(settings),
        "</section>",
    ]
    return "\n".join(part for part in parts if part)


def _grid(heading: str, content: str, kind: str = "grid") -> str:
    return f'<h3>{heading}</h3><div class="{kind}">{content}</div>' if content else ""


def _series(lines: Iterable[dict[str, Any]]) -> dict[str, Points]:
    """Each numeric key's (step, value) in the order logged; returns and scores come first."""
    series: dict[str, Points] = {}
    for line in lines:
        for key, value in line.items():
            if key not in ("step", "time") and _is_number(value) and _is_number(line.get("step")):
                series.setdefault(key, []).append((line["step"], value))
    chief = re.compile("return|score")
    return {key: series[key] for key in sorted(series, key=lambda key: not chief.search(key))}


def _is_number(value: Any) -> bool:
    plain = isinstance(value, int | float) and not isinstance(value, bool)
    return plain and math.isfinite(value)


def _varies(points: Points) -> bool:
    return len({x for x, _ in points}) > 1 and len({y for _, y in points}) > 1


def _chart(key: str, points: Points, unit: str) -> str:
    """One curve as SVG: a line of means, and where points were merged the range behind it."""
    xs, ys = np.array(points, float).T
    order = np.argsort(xs, kind="stable")
    stretches = np.array_split(order, min(len(order), POINTS))
    x = np.array([xs[part].mean() for part in stretches])
    low, mean, high = (
        np.array([of(ys[part]) for part in stretches]) for of in (np.min, np.mean, np.max)
    )
    x_range, y_range = (xs.min(), xs.max()), (ys.min(), ys.max())

    def at_x(value: Any) -> Any:
        return LEFT + (value - x_range[0]) / (x_range[1] - x_range[0]) * (WIDTH - LEFT - RIGHT)

    def at_y(value: Any) -> Any:
        share = (value - y_range[0]) / (y_range[1] - y_range[0])
        return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)

    def line(x: np.ndarray, y: np.ndarray) -> str:
        return " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(at_x(x), at_y(y), strict=True))

    axes = "".join(
        f'<line class="rule" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at_y(y):.1f}" '
        f'y2="{at_y(y):.1f}"/><text x="{LEFT - 6}" y="{at_y(y) + 4:.1f}" '
        f'text-anchor="end">{_short(y)}</text>'
        for y in _ticks(*y_range)
    )
    axes += "".join(
        f'<text x="{at_x(x):.1f}" y="{HEIGHT - 8}" text-anchor="middle">{_short(x)}</text>'
        for x in _ticks(*x_range)
    )
    shape = f'<polyline class="line" points="{line(x, mean)}"/>'
    if len(points) > POINTS:
        band = line(np.concatenate([x, x[::-1]]), np.concatenate([high, low[::-1]]))
        shape = f'<polygon class="band" points="{band}"/>{shape}'
    elif len(points) <= 40:
        shape += "".join(
            f'<circle class="dot" cx="{at_x(a):.1f}" cy="{at_y(b):.1f}" r="2.5"/>'
            for a, b in zip(x, mean, strict=True)
        )
    label = (
        f"{key} over {unit}: {_short(ys[order[0]])} at {_short(x_range[0])}, "
        f"{_short(ys[order[-1]])} at {_short(x_range[1])}; "
        f"lowest {_short(ys.min())}, highest {_short(ys.max())}"
    )
    return (
        f"<figure><figcaption><b>{_text(key)}</b> over {_text(unit)}</figcaption>"
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{_text(label)}">'
        f"{axes}{shape}</svg></figure>"
    )


def _ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers within low..high."""
    raw = (high - low) / about
    size = 10.0 ** math.floor(math.log10(raw))
    step = next(size * factor for factor in (1, 2, 5, 10) if size * factor >= raw * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [i * step for i in range(first, last + 1)]


def _short(value: float) -> str:
    """A figure in few characters: 1.5M, 20k, 0.05, 2.5e-05."""
    for size, sign in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= size:
            return f"{value / (1e3 if sign == 'k' else size):.4g}{sign}"
    return f"{value:.4g}"


def _media(run: Run, folder: str, out: Path, room: list[int]) -> str:
    """The folder's films and pictures, by name, numbers in them in their order."""
    found = []
    with writing(out):
        files = [file for file in (run.path / folder).glob("*") if file.suffix.lower() in TYPES]
        for file in sorted(files, key=_natural):
            if file.name.startswith("."):  # being written
                continue
            size, name = file.stat().st_size, _text(file.name)
            caption = f"{name} ({math.ceil(size / 1e3):,} kB)"
            if size > min(EMBED_BYTES, room[0]):
                item = f'<p><a href="{_text(_link(file, out))}">{name}</a></p>'
                caption = f"{math.ceil(size / 1e6)} MB, in a file of its own"
            else:
                room[0] -= size
                kind = TYPES[file.suffix.lower()]
                source = f"data:{kind};base64,{base64.b64encode(file.read_bytes()).decode()}"
                if kind.startswith("video"):
                    attributes = 'controls loop muted playsinline preload="auto"'
                    item = f'<video {attributes} aria-label="film {name}" src="{source}"></video>'
                else:
                    item = f'<img alt="{name} of {_text(run.name)}" src="{source}">'
            found.append(f"<figure>{item}<figcaption>{caption}</figcaption></figure>")
    return "".join(found)


def _natural(file: Path) -> list[Any]:
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", file.name)]


def _link(file: Path, out: Path) -> str:
    try:
        relative = os.path.relpath(file.resolve(), out.resolve().parent)
    except ValueError:  # on another drive of Windows
        return file.resolve().as_uri()
    return urllib.parse.quote(Path(relative).as_posix())


def _figures(series: dict[str, Points]) -> str:
    """The figures behind the curves, as a table."""
    rows = ""
    for key, points in series.items():
        values = [value for _, value in points]
        cells = (len(values), values[0], min(values), max(values), values[-1])
        rows += f'<tr><th scope="row">{_text(key)}</th>'
        rows += "".join(f"<td>{_short(cell)}</td>" for cell in cells) + "</tr>"
    heads = "".join(
        f'<th scope="col">{head}</th>' for head in ("", "logged", "first", "min", "max", "last")
    )
    return _details("Figures", f"<tr>{heads}</tr>{rows}") if rows else ""


def _settings(settings: dict[str, Any]) -> str:
    rows = "".join(
        f'<tr><th scope="row">{_text(key)}</th><td>{_text(value)}</td></tr>'
        for key, value in _flat(settings)
    )
    return _details("Settings", rows)


def _details(summary: str, rows: str) -> str:
    return (
        f'<details><summary>{summary}</summary><div class="wide"><table>{rows}</table></div>'
        "</details>"
    )


def _flat(value: Any, key: str = "") -> list[tuple[str, str]]:
    if isinstance(value, dict):
        items = ((f"{key}.{name}" if key else str(name), value[name]) for name in value)
        return [row for name, item in items for row in _flat(item, name)]
    return [(key, value if isinstance(value, str) else json.dumps(value))]


def _text(value: Any) -> str:
    """Safe as text and inside quotes."""
    return html.escape(str(value), quote=True)


STYLE = """
:root{color-scheme:light dark;--page:#fbfaf8;--card:#fff;--ink:#1d1f24;--soft:#5c626e;
--rule:#dedbd5;--line:#b4560c}
@media(prefers-color-scheme:dark){:root{--page:#141519;--card:#1d1f25;--ink:#e6e7ea;--soft:#a2a8b4;
--rule:#343842;--line:#f09a4a}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:1180px;padding:1.5rem 1rem 4rem;background:var(--page);
color:var(--ink);font:16px/1.5 system-ui,sans-serif}
h1{font-size:1.8rem;line-height:1.2;margin:.5rem 0 1rem}
h2{font-size:1.35rem;margin:2.5rem 0 0;padding-top:1rem;border-top:1px solid var(--rule)}
h3{font-size:1.05rem;margin:1.5rem 0 .5rem}
h1,h2,td,th,figcaption{overflow-wrap:anywhere}
p{color:var(--soft);margin:.25rem 0}
nav a{margin-right:1rem}
a{color:var(--line)}
.grid{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(340px,100%),1fr));gap:1rem;
align-items:start}
.large{grid-template-columns:repeat(auto-fill,minmax(min(520px,100%),1fr))}
figure{margin:0;padding:.75rem;background:var(--card);border:1px solid var(--rule);
border-radius:8px}
figcaption{color:var(--soft);font-size:.9rem}
figcaption b{color:var(--ink)}
img,video{display:block;max-width:100%;height:auto;margin:0 auto .5rem}
video{background:#000}
svg{display:block;width:100%;height:auto;overflow:visible}
svg text{fill:var(--soft);font:11px system-ui,sans-serif}
.rule{stroke:var(--rule);stroke-width:1}
.line{fill:none;stroke:var(--line);stroke-width:1.8;stroke-linejoin:round}
.band{fill:var(--line);opacity:.2}
.dot{fill:var(--line)}
pre{background:var(--card);border:1px solid var(--rule);border-radius:8px;padding:.75rem;
overflow-x:auto}
details{margin-top:1rem}
summary{cursor:pointer;font-weight:600}
.wide{overflow-x:auto}
table{border-collapse:collapse;font-size:.9rem;margin-top:.5rem}
th,td{text-align:left;vertical-align:top;padding:.2rem .9rem .2rem 0;
border-bottom:1px solid var(--rule)}
th[scope=row]{font-weight:400;color:var(--soft)}
td{font-variant-numeric:tabular-nums}
"""

PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src data:; media-src data:; style-src 'unsafe-inline'">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<header><h1>{title}</h1>{contents}{commands}</header>
<main>
{sections}
</main>
</body>
</html>
"""
