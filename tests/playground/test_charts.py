"""`plot`: many curves with legend, bands, levels and a second unit. (Others: test_gallery.)"""

import re

import pytest

from playground import page
from playground.charts import COLOURS, HEIGHT, LEFT, RIGHT, WIDTH, Level, Line, plot

OURS = Line("ours", [(0, 0.0), (100, 10.0)], [(-5, 5), (8, 15)], colour=0)


def places(drawn, tag, attribute="points"):
    found = re.findall(rf'<{tag}[^>]* {attribute}="([^"]*)"', drawn)
    return [[tuple(map(float, pair.split(","))) for pair in each.split()] for each in found]


def test_a_band_and_a_line_fill_the_box():
    drawn = plot("Return", [OURS], "agent steps")
    (line,), (band,) = places(drawn, "polyline"), places(drawn, "polygon")
    assert [x for x, _ in line] == [LEFT, WIDTH - RIGHT]
    # y from -5 (bottom) to 15 (top): 0 lies a quarter up, 10 three quarters
    (_, zero), (_, ten) = line
    bottom, top = band[3][1], band[1][1]
    assert zero == pytest.approx(bottom - (bottom - top) / 4, abs=0.1)
    assert ten == pytest.approx(bottom - (bottom - top) * 3 / 4, abs=0.1)
    assert "Return over agent steps: ours: 0 at 0, 10 at 100; lowest 0, highest 10" in drawn
    assert drawn.count("<circle") == 2


def test_every_line_has_its_colour_in_the_legend_and_the_style():
    lines = [Line(f"line {i}", [(0, 0), (1, i)], colour=i) for i in range(COLOURS + 1)]
    drawn = plot("t", lines, "x")
    for i in range(COLOURS):
        assert f'<b class="colour-{i}">line {i}</b>' in drawn
        assert f".colour-{i}{{color:" in page.STYLE
    assert f'<b class="colour-0">line {COLOURS}</b>' in drawn
    assert drawn.index('<g class="colour-1">') < drawn.rindex('<g class="colour-0">')  # in front


def test_what_is_published_is_dashed():
    drawn = plot("t", [OURS, Line("theirs", [(50, 1)], colour=1, dashed=True)], "x")
    assert '<g class="colour-1 dashed">' in drawn and "- - theirs" in drawn
    assert ".dashed .line" in page.STYLE


def test_levels_near_are_drawn_and_far_ones_told():
    levels = [Level("near", 20, 2), Level("far", 400, 3), Level("deep", -400, 4)]
    drawn = plot("t", [OURS], "x", levels)
    assert drawn.count('class="level') == 1 and 'class="level colour-2"' in drawn
    assert "· · near 20" in drawn and "far 400, above" in drawn and "deep -400, below" in drawn
    assert "lowest 0, highest 10; near 20; far 400, above" in drawn  # in words, too


def test_the_axis_spans_what_is_asked_for():
    flat = [Line("a", [(0, 0), (1, 0)])]
    figure = plot("shares", flat, "score", span=(0, 1))
    assert '"end">0</text>' in figure and '"end">1</text>' in figure and "-1" not in figure
    assert "-1</text>" in plot("shares", flat, "score")


def test_a_second_unit_stands_below_the_first():
    plain, drawn = plot("t", [OURS], "agent steps"), plot("t", [OURS], "agent steps", (), ("f", 4))
    rows = re.findall(r'<text x="[\d.]+" y="(\d+)" text-anchor="middle">(\d+)</text>', drawn)
    first = [int(text) for y, text in rows if y == str(HEIGHT - 8)]
    second = [int(text) for y, text in rows if y == str(HEIGHT + 8)]
    assert first == [0, 20, 40, 60, 80, 100] and second == [4 * x for x in first]
    assert f'viewBox="0 0 {WIDTH} {HEIGHT}"' in plain
    assert f'viewBox="0 0 {WIDTH} {HEIGHT + 16}"' in drawn and "below in f" in drawn


@pytest.mark.parametrize("points", [[(5, 3.0)], [(0, 0.0)], [(0, 2), (9, 2)], [(1, 2), (1, 4)]])
def test_a_point_or_a_constant_can_be_drawn(points):
    drawn = plot("t", [Line("a", points)], "x")
    (line,) = places(drawn, "polyline")
    assert all(LEFT <= x <= WIDTH - RIGHT and 0 <= y <= HEIGHT for x, y in line)


def test_names_are_text():
    drawn = plot("<t>", [Line('<a> & "b"', [(0, 0), (1, 1)])], "<x>", [Level("<l>", 1)])
    assert not re.search(r"<(t|a|x|l)>", drawn) and "&lt;a&gt; &amp; &quot;b&quot;" in drawn
