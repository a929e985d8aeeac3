import json
import math
import re
import shutil
import subprocess
from html.parser import HTMLParser

import numpy as np
import pytest
import torch

from playground import charts, gallery
from playground.errors import UserError
from playground.frames import Frame
from playground.gallery import contact_sheet, write_page
from playground.media import PANEL, VideoWriter, read_image, write_image
from playground.run import Run

MAGENTA = (255, 0, 200)
NASTY = '<script>alert(1)</script> & "q"'


def test_contact_sheet_places_every_picture():
    pictures = [np.full((10, 20, 3), 10 * i, np.uint8) for i in range(1, 6)]
    sheet = contact_sheet(pictures, columns=3, padding=2)
    assert sheet.shape == (2 * 12 + 2, 3 * 22 + 2, 3)
    assert [sheet[5, x, 0] for x in (10, 30, 50)] == [10, 20, 30]
    assert [sheet[18, x, 0] for x in (10, 30)] == [40, 50]
    assert (sheet[18, 50] == PANEL).all() and (sheet[:2] == PANEL).all()


def test_contact_sheet_takes_tensors_sizes_and_labels():
    pictures = [torch.ones(3, 8, 40), np.full((20, 10, 3), 255, np.uint8)]
    sheet = contact_sheet(pictures, 9, ["one", "a label that is far too long"], padding=0)
    assert sheet.shape == (36, 80, 3)
    assert (sheet[6:14, :40] == 255).all() and (sheet[0, 0] == PANEL).all()
    assert (sheet[20:, :40] != PANEL).any() and (sheet[20:, 40:] != PANEL).any()
    plain = [np.full((20, 40, 3), 255, np.uint8)] * 4
    long = "a name that is rather long"
    sheet = contact_sheet(plain, 2, [long, "", long, "b"], padding=0)
    reaches = (sheet[20:36] != PANEL).any((0, 2)).nonzero()[0].max() > 80 - 12
    cut = (sheet[56:] != PANEL).any((0, 2))[:40].any()
    assert reaches and cut and np.array_equal(sheet[20:36, :25], sheet[56:, :25])
    with pytest.raises(ValueError):
        contact_sheet([], 3)
    with pytest.raises(ValueError):
        contact_sheet(pictures, 2, ["one"])


class Page(HTMLParser):
    """Tags with their attributes, and the text outside of style."""

    def __init__(self, path):
        super().__init__()
        self.tags, self.text, self._inside = [], "", ""
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._inside = tag

    def handle_data(self, data):
        self.text += data if self._inside != "style" else ""

    def all(self, name):
        return [attrs for tag, attrs in self.tags if tag == name]


@pytest.fixture
def run(tmp_path):
    run = Run.create(tmp_path / "runs", "dqn", "first", {"game": NASTY, "sizes": [1, {"a": None}]})
    lines = [
        {
            "step": i * 100,
            "time": i,
            "epsilon": 1 - i / 1000,
            "return": float(i),
            "rate": 0.1,
            "bad": None,
        }
        for i in range(1000)
    ]
    lines += [{"step": i * 1000, "eval_return": -20 + i, NASTY: i, "on": True} for i in range(10)]
    text = "\n".join(json.dumps(line) for line in lines)
    (run.path / "metrics.jsonl").write_text(text + '\n{"step": 1, "ret', encoding="utf-8")
    write_image(run.gallery / "sheet.png", np.full((64, 64, 3), MAGENTA, np.uint8))
    for name in ("step-1000.mp4", "step-200.mp4", "last.gif"):
        with VideoWriter(run.videos / name) as writer:
            writer.write(Frame(np.full((48, 48, 3), 90, np.uint8)))
    (run.videos / "notes.txt").write_text("no film")
    return run


def test_page_holds_films_pictures_curves_and_settings(run, tmp_path):
    write_page([run.path], tmp_path / "new" / "page.html", "A <title>", [f"play {NASTY}"])
    page = Page(tmp_path / "new" / "page.html")
    assert "A <title>" in page.text and f"play {NASTY}" in page.text
    films = page.all("video")
    assert [film["aria-label"] for film in films] == ["film step-200.mp4", "film step-1000.mp4"]
    assert all(film["src"].startswith("data:video/mp4;base64,") for film in films)
    pictures = page.all("img")
    assert len(pictures) == 2 and all(picture["alt"] for picture in pictures)
    curves = [svg["aria-label"] for svg in page.all("svg")]
    keys = [curve.split(" over ")[0] for curve in curves]
    assert keys == ["return", "eval_return", "epsilon", NASTY]  # what is constant has no curve
    assert curves[0] == "return over steps: 0 at 0, 999 at 99.9k; lowest 0, highest 999"
    assert len(page.all("polygon")) == 2 and len(page.all("circle")) == 20
    assert NASTY in page.text and "config.sizes" in page.text and '[1, {"a": null}]' in page.text
    assert "rate" in page.text and "notes.txt" not in page.text


def test_films_of_evaluations_come_after_the_others(run, tmp_path):
    for name in ("0000000000.mp4", "0000002000.mp4"):
        shutil.copy(run.videos / "step-200.mp4", run.videos / name)
    write_page([run.path], tmp_path / "page.html")
    page = Page(tmp_path / "page.html")
    films = [film["aria-label"].removeprefix("film ") for film in page.all("video")]
    assert films == ["step-200.mp4", "step-1000.mp4", "0000000000.mp4", "0000002000.mp4"]
    assert "Films of the evaluations" in page.text


def test_page_is_safe_and_needs_no_network(run, tmp_path):
    write_page([run.path], tmp_path / "page.html")
    page = Page(tmp_path / "page.html")
    assert not page.all("script") and "<script" not in page.source
    assert not re.search(r"https?:", page.source)
    policy = next(meta["content"] for meta in page.all("meta") if "http-equiv" in meta)
    assert policy.startswith("default-src 'none'")
    sources = [attrs["src"] for _, attrs in page.tags if "src" in attrs]
    assert sources and all(source.startswith("data:") for source in sources)
    assert page.tags[0] == ("html", {"lang": "en"})


def test_large_films_are_linked(run, tmp_path, monkeypatch):
    monkeypatch.setattr(gallery, "EMBED_BYTES", 100)
    (run.videos / "a #1.mp4").write_bytes(b"0" * 101)
    write_page([run.path], run.gallery / "index.html")
    links = [link["href"] for link in Page(run.gallery / "index.html").all("a")]
    assert "../videos/a%20%231.mp4" in links and not Page(run.gallery / "index.html").all("video")
    monkeypatch.undo()
    monkeypatch.setattr(gallery, "PAGE_BYTES", 1500)  # all together
    write_page([run.path], run.gallery / "index.html")
    page = Page(run.gallery / "index.html")
    assert len(page.all("a")) + len(page.all("img")) + len(page.all("video")) == 5
    assert page.all("a") and page.all("img")


def test_several_runs_and_an_empty_one(run, tmp_path):
    empty = Run.create(tmp_path / "runs", "dqn", "empty", {})
    write_page([run.path, empty.path], tmp_path / "page.html")
    page = Page(tmp_path / "page.html")
    assert [link["href"] for link in page.all("a")] == ["#run-0", "#run-1"]
    assert [heading["id"] for heading in page.all("h2")] == ["run-0", "run-1"]
    assert sorted(path.name for path in empty.path.iterdir()) == ["config.json"]  # only looked at


def test_bad_runs_and_places(run, tmp_path):
    (tmp_path / "file").write_text("in the way")
    for runs, out in (
        ([tmp_path / "none"], "page.html"),
        ([run.path], "page.txt"),
        ([run.path], "file/page.html"),
    ):
        with pytest.raises(UserError):
            write_page(runs, tmp_path / out)


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0, 100, [0, 20, 40, 60, 80, 100]),
        (-21, 21, [-20, -10, 0, 10, 20]),
        (0.1, 0.9, [0.2, 0.4, 0.6, 0.8]),
        (999_999, 1_000_001, [999_999, 999_999.5, 1_000_000, 1_000_000.5, 1_000_001]),
    ],
)
def test_ticks_are_round_and_within(low, high, ticks):
    assert charts.ticks(low, high) == pytest.approx(ticks)


def test_short_figures():
    figures = [0, 21, -20.5, 0.05, 2.5e-5, 9999, 20_000, 1_500_000, 2e9]
    shown = ["0", "21", "-20.5", "0.05", "2.5e-05", "9999", "20k", "1.5M", "2G"]
    assert [charts.short(figure) for figure in figures] == shown


def test_a_browser_shows_the_page(run, tmp_path):
    browser = next(
        filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), ""
    )
    if not browser:
        pytest.skip("no Chromium is installed")
    write_page([run.path], tmp_path / "page.html")
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"]
    command += [
        "--disable-background-networking",
        "--disable-component-update",
        "--hide-scrollbars",
    ]
    command += ["--window-size=1200,1800", f"--user-data-dir={tmp_path / 'profile'}"]
    command += [f"--screenshot={tmp_path / 'shot.png'}", (tmp_path / "page.html").as_uri()]
    subprocess.run(command, capture_output=True, timeout=90, check=True)
    shot = read_image(tmp_path / "shot.png")
    assert (shot == MAGENTA).all(-1).sum() >= 64 * 64  # the picture
    assert (shot == (0xB4, 0x56, 0x0C)).all(-1).sum() > 200  # the curves, in daylight


def test_what_was_evaluated_stands_beside_what_was_trained_on(tmp_path):
    run = Run.create(tmp_path, "classify", "a", {}, score="accuracy", unit="updates")
    for step in range(1, 9):
        run.log(step, loss=1 / step, accuracy=10.0 * step)
        if step % 2 == 0:
            run.log(step, **{"evaluate/score": 9.0 * step, "evaluate/loss": 2 / step})
    write_page([run.path], tmp_path / "page.html")
    page = Page(tmp_path / "page.html")
    labels = [svg["aria-label"] for svg in page.all("svg")]
    assert len(labels) == 2
    assert labels[0].startswith("evaluate/score over updates: 18 at 2, 72 at 8;")
    assert "accuracy over updates: 10 at 1, 80 at 8;" in labels[0]
    assert labels[1].startswith("evaluate/loss") and "; loss over" in labels[1]
    assert len(page.all("polyline")) == 4 and len(page.all("g")) == 2


def test_bars_and_captions_come_from_files_of_the_gallery(tmp_path):
    run = Run.create(tmp_path, "classify", "a", {})
    rows = [{"name": NASTY, "forward": 1, "backward": 2.0}, {"name": "b", "forward": 0.5,
            "backward": 0.5}]  # fmt: skip
    chart = {"title": f"Time {NASTY}", "unit": "ms", "rows": rows, "shares": True}
    (run.gallery / "layers.json").write_text(json.dumps(chart))
    (run.gallery / "other.json").write_text("[1]")
    (run.gallery / "captions.json").write_text(json.dumps({"a.png": f"shows {NASTY}"}))
    write_image(run.gallery / "a.png", np.zeros((4, 4, 3), np.uint8))
    write_page([run.path], tmp_path / "page.html")
    page = Page(tmp_path / "page.html")
    (svg,) = page.all("svg")
    assert svg["aria-label"] == f"Time {NASTY}: {NASTY} 3 ms, 75 %; b 1 ms, 25 %"
    widths = [float(rect["width"]) for rect in page.all("rect")]
    assert widths[1] == pytest.approx(2 * widths[0], abs=0.2) and len(widths) == 4
    assert f"shows {NASTY}" in page.text and "<script" not in page.source


@pytest.mark.parametrize(
    "foreign",
    [
        {"rows": [{"name": "a", "b": 1}]},
        {"title": "t", "unit": "u", "rows": [{"name": "a", "b": 1}], "colour": "red"},
        {"title": "t", "unit": "u", "rows": [{"b": 1}]},
        {"title": "t", "unit": "u", "rows": [{"name": "a", "b": "many"}]},
        {"title": "t", "unit": "u", "rows": [{"name": "a", "b": math.nan}]},
        {"title": "t", "unit": "u", "rows": [{"name": "a", "b": 10**400}]},
        {"title": "t", "unit": "u", "rows": [{"name": "a", "b": 1}, {"name": "b"}]},
        {"title": "t", "unit": "u", "rows": ["a", 1]},
        {"title": "t", "unit": "u", "rows": {"a": 1}},
        {"title": "t", "unit": "u", "rows": 3},
        [{"name": "a"}],
        "rows",
    ],
)
def test_a_foreign_file_in_the_gallery_is_no_chart(foreign, run, tmp_path):
    write_page([run.path], tmp_path / "without.html")
    (run.gallery / "foreign.json").write_text(json.dumps(foreign))
    (run.gallery / ".tmp-1-layers.json").write_text("{")  # of a process that was killed
    write_page([run.path], tmp_path / "page.html")
    assert (tmp_path / "page.html").read_bytes() == (tmp_path / "without.html").read_bytes()


def test_damaged_files_in_the_gallery_are_named(run, tmp_path):
    (run.gallery / "captions.json").write_text('{"sheet.png": "sh')
    (run.gallery / "deep.json").write_text("[" * 100_000)
    (run.gallery / "latin.json").write_bytes(b'{"title": "\xe9"}')
    (run.gallery / "folder.json").mkdir()
    (run.gallery / "folder.png").mkdir()
    (run.path / "metrics.jsonl").write_text(f'{{"step": 1, "a": 1{"0" * 400}}}\n')
    write_page([run.path], tmp_path / "page.html")
    page = Page(tmp_path / "page.html")
    named = "Not readable, and left out: captions.json, deep.json, folder.json, latin.json."
    assert named in page.text
    assert {picture["alt"].split()[0] for picture in page.all("img")} == {"sheet.png", "last.gif"}


def test_bars_of_nothing():
    assert "<svg" in charts.bars("none", "ms", [])


def test_some_panels_show_how_it_learned(tmp_path):
    run = Run.create(tmp_path, "classify", "a", {})
    for step in range(0, 3000, 100):
        write_image(run.panel(step), np.zeros((4, 4, 3), np.uint8))
    write_image(run.gallery / "wrong.png", np.zeros((4, 4, 3), np.uint8))
    write_page([run.path], tmp_path / "page.html")
    shown = [picture["alt"].split()[0] for picture in Page(tmp_path / "page.html").all("img")]
    assert len(shown) == 1 + gallery.PANELS and shown[0] == "wrong.png"
    assert (shown[1], shown[-1]) == ("panel-0000000000.png", "panel-0000002900.png")


def test_a_picture_over_what_it_was_made_of(run, tmp_path):
    black, white = (np.full((16, 16, 3), value, np.uint8) for value in (0, 255))
    write_image(run.gallery / "sea.before.png", black)
    write_image(run.gallery / "sea.png", white)
    write_page([run.path], tmp_path / "page.html")
    page = Page(tmp_path / "page.html")
    (frame,) = [tag for tag in page.all("div") if tag.get("class") == "slider"]
    assert frame["title"] == "drag the corner"
    names = [img["alt"] for img in page.all("img")]
    assert f"sea.png of {run.name}, before" in names and f"sea.png of {run.name}, after" in names
    assert not any(name.startswith("sea.before") for name in names)
