"""Contact sheets, and a page of runs: films, pictures, curves and settings in one HTML file.

Pictures and films are inside the page (see `page`), curves are inline SVG; large films alone are
linked. A picture `NAME.png` of a run's gallery beside `NAME.before.png` is shown over it, with a
border that can be moved.
"""

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
from playground.page import checked, escaped, inside, slider, write_html
from playground.run import Run, read_json, writing

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
BEFORE = ".before"  # in a picture's name: what the picture without it was made of
CAPTIONS = "captions.json"  # in a run's gallery: file name -> what it shows


def contact_sheet(
    images: Sequence[Any],
    columns: int,
    labels: Sequence[str] | None = None,
    padding: int = 4,
) -> np.ndarray:
    """Pictures in rows of `columns`, a label of one or more lines below each: (H, W, 3) uint8.

    `images` are whatever `to_pixels` takes, of any sizes: a cell is as large as the largest, and
    pictures stand in its middle. `padding` is in pixels, around every cell. A label may reach below
    the pictures at its right that have none.
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
            row = labels[place + 1 : (place // columns + 1) * columns]
            free = next((i for i, label in enumerate(row) if label), len(row))
            room = width + free * pitch[1]
            cell = sheet[y + height : y + height + below, x : x + room]
            text = [_fit(line, room) for line in labels[place].split("\n")]
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
    from a run's `videos/` (those of single evaluations, `Run.film`, after the others), pictures
    from its `gallery/`. `commands` are shown at the top, to copy.
    UserError when a run is none, or the page cannot be written.
    """
    out = checked(out)
    opened = [Run.open(path) for path in runs]
    room = [PAGE_BYTES]
    sections = "\n".join(_section(run, i, out, room) for i, run in enumerate(opened))
    links = [f'<a href="#run-{i}">{escaped(run.name)}</a>' for i, run in enumerate(opened)]
    contents = f'<nav aria-label="Runs">{" ".join(links)}</nav>' if len(links) > 1 else ""
    write_html(out, title, sections, contents, commands)


def _section(run: Run, number: int, out: Path, room: list[int]) -> str:
    """One run: heading, curves, films, pictures, settings."""
    settings = run.settings
    about = [settings.get("task"), settings.get("created"), settings.get("device")]
    facts = " · ".join(escaped(fact) for fact in about if fact)
    series = _series(run.metrics())
    videos = _files(run, "videos", out)
    films = _media(run, [file for file in videos if not file.stem.isdecimal()], out, room)
    evaluated = _media(run, [file for file in videos if file.stem.isdecimal()], out, room)
    found = _files(run, "gallery", out)
    panels = [file for file in found if file.name.startswith("panel-")]
    pictures = _media(run, [file for file in found if file not in panels], out, room)
    learning = _media(run, _spread(panels, PANELS), out, room)
    parts = [
        f'<section aria-labelledby="run-{number}"><h2 id="run-{number}">{escaped(run.name)}</h2>',
        f"<p>{facts}</p>",
        _grid("Films", films, "pictures"),
        _grid("Films of the evaluations", evaluated),
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
    line = f"<p>Not readable, and left out: {escaped(', '.join(unreadable))}.</p>"
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
    shown = (file for file in found if not file.name.startswith("."))
    return sorted((file for file in shown if not file.stem.endswith(BEFORE)), key=_natural)


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
            size, name = file.stat().st_size, escaped(file.name)
            if _before(file).is_file():
                size += _before(file).stat().st_size
            caption = f"{name} ({math.ceil(size / 1e3):,} kB)"
            if file.name in captions:
                caption = f"<b>{name}</b> {escaped(captions[file.name])}"
            if size > min(EMBED_BYTES, room[0]):
                item = f'<p><a href="{escaped(_link(file, out))}">{name}</a></p>'
                caption = f"{math.ceil(size / 1e6)} MB, in a file of its own"
            else:
                room[0] -= size
                item = _item(file, name, run)
            found.append(f"<figure>{item}<figcaption>{caption}</figcaption></figure>")
    return "".join(found)


def _item(file: Path, name: str, run: Run) -> str:
    """A film or a picture; over what it was made of, where that is there."""
    kind, data = TYPES[file.suffix.lower()], file.read_bytes()
    if kind.startswith("video"):
        attributes = 'controls loop muted playsinline preload="auto"'
        return f'<video {attributes} aria-label="film {name}" src="{inside(data, kind)}"></video>'
    before = _before(file)
    if before.is_file():
        return slider(before.read_bytes(), data, f"{file.name} of {run.name}", kind)
    return f'<img alt="{name} of {escaped(run.name)}" src="{inside(data, kind)}">'


def _before(file: Path) -> Path:
    return file.with_name(f"{file.stem}{BEFORE}{file.suffix}")


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
    return urllib.parse.quote(os.fsencode(Path(relative).as_posix()))


def _figures(series: dict[str, Points]) -> str:
    """The figures behind the curves, as a table."""
    rows = ""
    for key, points in series.items():
        values = [value for _, value in points]
        cells = (len(values), values[0], min(values), max(values), values[-1])
        rows += f'<tr><th scope="row">{escaped(key)}</th>'
        rows += "".join(f"<td>{short(cell)}</td>" for cell in cells) + "</tr>"
    heads = "".join(
        f'<th scope="col">{head}</th>' for head in ("", "logged", "first", "min", "max", "last")
    )
    return _details("Figures", f"<tr>{heads}</tr>{rows}") if rows else ""


def _settings(settings: dict[str, Any]) -> str:
    rows = "".join(
        f'<tr><th scope="row">{escaped(key)}</th><td>{escaped(value)}</td></tr>'
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
