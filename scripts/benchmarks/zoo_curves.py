"""Draw the learning curves of the agents that ship beside published ones: agents/zoo/curves.png.

    python scripts/benchmarks/zoo_curves.py --references DIR

A panel a game, over emulator frames: the evaluations of its training with their 95 % intervals, its
score of 30 fresh games under machado, and of the published figures in DIR the curves of Dopamine's
Rainbow and IQN and the final score of Mnih et al. 2015. Without --references ours alone.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

# So that this checkout's scripts are found.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from agents.agent import ZOO
from agents.atari import FRAMES_PER_STEP
from agents.references import References, read
from playground.errors import UserError
from playground.run import atomic_path, read_json

PICTURE = "curves.png"
COLUMNS, PANEL_INCHES, DPI = 5, (3.2, 2.7), 100
OURS, PUBLISHED = "#b4560c", {"Dopamine Rainbow": "#2f6690", "Dopamine IQN": "#35762f"}
FINAL, FINAL_COLOUR = "Nature DQN", "#8e4585"
FIRST_FRAMES, LAST_FRAMES = 5e5, 2e8  # of the axis: the published ones have 200 million


def draw(zoo: Path, references: References) -> Path:
    """The picture of all cards in a folder; where it is."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    cards = [read_json(path) for path in sorted(zoo.glob("*.json"))]
    if not cards:
        raise UserError(f"There is no card of an agent in {zoo}.")
    rows = -(-len(cards) // COLUMNS)
    width, height = PANEL_INCHES
    figure = Figure(figsize=(COLUMNS * width, rows * height + 0.4), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(rows, COLUMNS, squeeze=False).ravel()
    for panel, card in zip(panels, cards, strict=False):
        _panel(panel, card, references)
    for panel in panels[len(cards) :]:
        panel.axis("off")
    keys = [Line2D([], [], color=OURS, marker="o", label="ours: evaluations in training")]
    keys.append(Line2D([], [], color=OURS, marker="D", ls="", label="… as it ships (machado)"))
    for name, colour in PUBLISHED.items():
        if name in references.curves:
            keys.append(Line2D([], [], color=colour, label=f"{name}, in training"))
    if FINAL in references.finals:
        label = f"{FINAL}, final, no sticky actions"
        keys.append(Line2D([], [], color=FINAL_COLOUR, ls=":", label=label))
    figure.legend(handles=keys, loc="outside lower center", ncols=len(keys), frameon=False)
    with atomic_path(zoo / PICTURE) as aside:
        figure.savefig(aside, dpi=DPI)
    return zoo / PICTURE


def _panel(panel: Any, card: dict[str, Any], references: References) -> None:
    """One game. What lies far above all curves is told and not drawn."""
    game, frames = card["game"], card["frames"]
    steps, _, means, lows, highs = zip(*card["curve"], strict=True)
    seen = [FRAMES_PER_STEP * step for step in steps]
    panel.fill_between(seen, lows, highs, color=OURS, alpha=0.2, lw=0)
    panel.plot(seen, means, color=OURS, marker="o", ms=3)
    result = card["scores"]["machado"]
    low, high = result["interval"]
    reach = [[result["mean"] - low], [high - result["mean"]]]
    panel.errorbar([frames], [result["mean"]], reach, color=OURS, marker="D", ms=5, zorder=5)
    for name, colour in PUBLISHED.items():
        if curve := references.curves.get(name, {}).get(game):
            points = [(FRAMES_PER_STEP * step, value) for step, value in curve]
            panel.plot(*zip(*points, strict=True), color=colour, lw=1, zorder=1)
    final = references.finals.get(FINAL, {}).get(game)
    if final is not None:
        bottom, top = panel.get_ylim()
        if final <= top + 0.1 * (top - bottom):
            panel.axhline(final, color=FINAL_COLOUR, ls=":")
        else:
            text = f"{FINAL} {final:,.0f} ↑"
            panel.text(0.03, 0.97, text, color=FINAL_COLOUR, va="top", transform=panel.transAxes)
    panel.set_xscale("log")
    panel.set_xlim(FIRST_FRAMES, LAST_FRAMES)
    rules = card["protocol"]["name"]
    panel.set_title(game.replace("_", " ") + (f" ({rules})" if rules != "machado" else ""))
    panel.set_xlabel("frames")
    panel.spines[["top", "right"]].set_visible(False)


def main() -> int:
    """Draw the picture; its path."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--references", type=Path, help="published figures: a file or folder")
    parser.add_argument("--zoo", type=Path, default=ZOO, help="folder (default agents/zoo)")
    args = parser.parse_args()
    try:
        print(draw(args.zoo, read(args.references) if args.references else References()))
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
