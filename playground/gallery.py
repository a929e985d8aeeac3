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
import sys
import urllib.parse
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from playground.charts import Points, bars, curves, short
from playground.errors import UserError
from playground.media import INK, PANEL, draw_text, text_width, to_pixels
from playground.run import Run, atomic_path, read_json, writing

TYPES = {
    ".mp4": "video/mp4",
    ".gif": "image/gif",
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
}
EMBED_BYTES = 25_000_000  # a larger film or picture is linked
PAGE_BYTES = 100_000_000  # what all embedded files may take; from then on all are linked
LETTERS_PX = 12
PANELS = 8  # of those drawn at evaluations, shown
CAPTIONS = "captions.json"  # in a run's gallery: file name -> what it shows


def contact_sheet(
    images: Sequence[Any],
    columns: int,
    labels: Sequence[str] | None = None,
    padding: int = 4,
) -> np.ndarray:
    """Pictures in rows of `columns`, a label of one or more lines below each: (H, W, 3) uint8.

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
    lines = max(label.count("\n") + 1 for label in labels) if labels else 0
    below = lines * (LETTERS_PX + 2) + 2 if labels else 0
    pitch = (height + padding + below, width + padding)
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
            cell = sheet[y + height : y + height + below, x : x + width]
            text = [_fit(line, width) for line in labels[place].split("\n")]
            cell[:] = draw_text(cell, text, (0, 2), LETTERS_PX, INK)
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
    out = _checked(out)
    opened = [Run.open(path) for path in runs]
    room = [PAGE_BYTES]
    sections = "\n".join(_section(run, i, out, room) for i, run in enumerate(opened))
    links = [f'<a href="#run-{i}">{_text(run.name)}</a>' for i, run in enumerate(opened)]
    contents = f'<nav aria-label="Runs">{" ".join(links)}</nav>' if len(links) > 1 else ""
    write_html(out, title, sections, contents, commands)


def write_html(
    out: Path | str,
    title: str,
    sections: str,
    contents: str = "",
    commands: Sequence[str] = (),
) -> None:
    """Write HTML sections as a page in the gallery's style to `out` (.html), aside and renamed.

    `contents` is HTML too, above the sections. UserError when the page cannot be written.
    """
    out = _checked(out)
    shell = f"<pre><code>{_text(chr(10).join(commands))}</code></pre>" if commands else ""
    page = PAGE.format(
        title=_text(title), style=STYLE, contents=contents, commands=shell, sections=sections
    )
    with atomic_path(out) as aside:
        aside.write_text(page, encoding="utf-8")


def _checked(out: Path | str) -> Path:
    if Path(out).suffix.lower() not in (".html", ".htm"):
        raise UserError(f"The page is written as .html, not {Path(out).name!r}.")
    return Path(out)


def _section(run: Run, number: int, out: Path, room: list[int]) -> str:
    """One run: heading, curves, films, pictures, settings."""
    settings = run.settings
    about = [settings.get("task"), settings.get("created"), settings.get("device")]
    facts = " · ".join(_text(fact) for fact in about if fact)
    series = _series(run.metrics())
    films = _media(run, _files(run, "videos", out), out, room)
    found = _files(run, "gallery", out)
    panels = [file for file in found if file.name.startswith("panel-")]
    pictures = _media(run, [file for file in found if file not in panels], out, room)
    learning = _media(run, _spread(panels, PANELS), out, room)
    parts = [
        f'<section aria-labelledby="run-{number}"><h2 id="run-{number}">{_text(run.name)}</h2>',
        f"<p>{facts}</p>",
        _grid("Films", films),
        _grid("Curves", _curves(series, settings)),
        *_bar_charts(run),
        _grid("Pictures", pictures, "pictures"),
        _grid("While it learned", learning),
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
    return plain and abs(value) <= sys.float_info.max


def _curves(series: dict[str, Points], settings: dict[str, Any]) -> str:
    """A chart for each figure that varies; what was evaluated beside what was trained on.

    Figures pair by name, `evaluate/loss` with `loss`; the setting "score" names that of the score.
    """
    shown = {key: points for key, points in series.items() if _varies(points)}
    trained = {key: key.removeprefix("evaluate/") for key in shown if key.startswith("evaluate/")}
    trained["evaluate/score"] = str(settings.get("score", "score"))
    pairs = {key: name for key, name in trained.items() if key in shown and name in shown}
    unit = settings.get("unit", "steps")
    return "".join(
        curves({name: shown[name] for name in (key, pairs.get(key, key))}, unit)
        for key in shown
        if key not in pairs.values()
    )


def _varies(points: Points) -> bool:
    return len({x for x, _ in points}) > 1 and len({y for _, y in points}) > 1


def _bar_charts(run: Run) -> tuple[str, str]:
    """Bars from the .json files of the gallery that hold some; a line naming unreadable ones."""
    drawn, unreadable = "", []
    for file in sorted((run.path / "gallery").glob("[!.]*.json")):
        found = _json(file)
        if _is_bar_chart(found):
            drawn += bars(**found)
        elif found is None:
            unreadable.append(file.name)
    line = f"<p>Not readable, and left out: {_text(', '.join(unreadable))}.</p>"
    return _grid("Shares", drawn), line if unreadable else ""


def _is_bar_chart(found: Any) -> bool:
    """Whether these are the arguments of `charts.bars`, with rows of a name and numbers."""
    needed = {"title", "unit", "rows"}
    if not isinstance(found, dict) or not needed <= found.keys() <= needed | {"shares"}:
        return False
    rows = found["rows"]
    if not (isinstance(rows, list) and rows and all(isinstance(row, dict) for row in rows)):
        return False
    return all(
        "name" in row
        and row.keys() == rows[0].keys()
        and all(_is_number(value) for key, value in row.items() if key != "name")
        for row in rows
    )


def _json(file: Path) -> Any:
    """What a file of the gallery holds; None where it cannot be read."""
    try:
        return read_json(file)
    except (UserError, RecursionError):
        return None


def _files(run: Run, folder: str, out: Path) -> list[Path]:
    """The folder's films and pictures, by name, numbers in them in their order."""
    with writing(out):
        found = [
            file
            for file in (run.path / folder).glob("*")
            if file.suffix.lower() in TYPES and file.is_file()
        ]
    # A leading dot: it is being written.
    return sorted((file for file in found if not file.name.startswith(".")), key=_natural)


def _spread(files: list[Path], count: int) -> list[Path]:
    """At most so many of them, evenly chosen, first and last included."""
    if len(files) <= count:
        return files
    return [files[round(i * (len(files) - 1) / (count - 1))] for i in range(count)]


def _media(run: Run, files: list[Path], out: Path, room: list[int]) -> str:
    """Films and pictures with captions, inside the page while there is room."""
    found = []
    captions = _captions(run.path / "gallery" / CAPTIONS)
    with writing(out):
        for file in files:
            size, name = file.stat().st_size, _text(file.name)
            caption = f"{name} ({math.ceil(size / 1e3):,} kB)"
            if file.name in captions:
                caption = f"<b>{name}</b> {_text(captions[file.name])}"
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


def _captions(file: Path) -> dict[str, str]:
    found = _json(file)
    return found if isinstance(found, dict) else {}


def _natural(file: Path) -> list[Any]:
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", file.name)]


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
        rows += "".join(f"<td>{short(cell)}</td>" for cell in cells) + "</tr>"
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
--rule:#dedbd5;--line:#b4560c;--other:#2f6690;--c2:#35762f;--c3:#8e4585;--c4:#7d6200;--c5:#b03052;
--c6:#2b747b;--c7:#5c626e}
@media(prefers-color-scheme:dark){:root{--page:#141519;--card:#1d1f25;--ink:#e6e7ea;--soft:#a2a8b4;
--rule:#343842;--line:#f09a4a;--other:#7fb2d9;--c2:#86c67c;--c3:#d59acb;--c4:#d9bd4a;--c5:#f08aa6;
--c6:#7cc7cf;--c7:#a2a8b4}}
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
.pictures{display:flex;flex-wrap:wrap;gap:1rem;align-items:start}
.pictures figcaption{width:0;min-width:100%}
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
.second .line{stroke:var(--other)}
.second .band,.second .dot{fill:var(--other)}
.first{fill:var(--line)}
.other{fill:var(--other)}
.colour-0{color:var(--line)}
.colour-1{color:var(--other)}
.colour-2{color:var(--c2)}
.colour-3{color:var(--c3)}
.colour-4{color:var(--c4)}
.colour-5{color:var(--c5)}
.colour-6{color:var(--c6)}
.colour-7{color:var(--c7)}
[class^=colour] .line{stroke:currentColor}
[class^=colour] .band,[class^=colour] .dot{fill:currentColor}
[class^=colour].dashed .line{stroke-width:1.4;stroke-dasharray:5 3}
[class^=colour].dashed .dot{opacity:.5}
.level{stroke:currentColor;stroke-width:1.4;stroke-dasharray:1.5 4}
figcaption .first{color:var(--line)}
figcaption .other{color:var(--other)}
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
