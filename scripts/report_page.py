"""The page of a report: tables, learning curves, performance profiles, in the gallery's style."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from agents.atari import FRAMES_PER_STEP
from playground import page
from playground.charts import Level, Line, Points, plot

UNIT = "agent steps"
TITLES = {
    "training": "Training return, exploring",
    "evaluation": "Evaluations, greedy but for epsilon",
}
READING = (
    "Scores are raw returns of whole games. A training return is the mean of the newest 100 games, "
    "with exploration; an evaluation plays games on emulators of its own. Lines are means over "
    "runs, bands go from the lowest run to the highest. Intervals of scores are Student's t, 95 %: "
    "over runs, or where there is one over the games of its evaluation. The best evaluation is "
    "chosen from all, and so too high by luck; aggregates are of each run's last. "
    "Human-normalised is 0 for random play and 1 for the human tester. IQM is the mean of the "
    "middle half of all runs; its interval, and a profile's band, are of the stratified bootstrap "
    "over runs, 95 %. Dopamine's iterations are drawn where they end, and compared at the agent "
    "steps of the shortest run."
)


def write(found: dict[str, Any], out: Path) -> None:
    """The page of `reporting.figures`. UserError where it cannot be written."""
    games = list(found["games"])
    contents = " ".join(f'<a href="#game-{i}">{_text(game)}</a>' for i, game in enumerate(games))
    sections = [
        *(f"<p>{_text(note)}</p>" for note in found["notes"]),
        _together(found),
        *(_game(found, game, i) for i, game in enumerate(games)),
        _runs(found),
        f"<h2>How to read this</h2><p>{_text(READING)}</p>",
        *(f"<p>{_text(line)}.</p>" for line in _rules(found)),
    ]
    nav = f'<nav aria-label="Games">{contents}</nav>'
    page.write_html(out, "Report", "\n".join(sections), nav)


# ---------------------------------------------------------------- figures as text


def score(of: dict[str, Any] | None) -> str:
    """Mean, interval, human-normalised score."""
    if of is None:
        return "none"
    text = f"{of['mean']:,.1f}"
    if of["low"] is not None:
        over = "" if of["interval_over"] == "runs" else f" over {of['interval_over']}"
        text += f" ({of['low']:,.1f} to {of['high']:,.1f}{over})"
    if of["human_normalised"] is not None:
        text += f", {of['human_normalised']:.2f} human"
    return text


def estimate(of: dict[str, Any]) -> str:
    """A figure and its interval."""
    if of["low"] is None:
        return f"{of['value']:.3f}"
    return f"{of['value']:.3f} ({of['low']:.3f} to {of['high']:.3f})"


def _span(low_high: Sequence[int]) -> str:
    low, high = low_high
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:,.1f}"


# ---------------------------------------------------------------- sections


def _together(found: dict[str, Any]) -> str:
    """Aggregates over games, profiles, and who beats whom."""
    rows = [
        [
            method,
            f"{kind}, last",
            f"{of['runs']} of {len(of['games'])} games",
            *(estimate(of[name]) for name in ("iqm", "median", "mean", "optimality_gap")),
        ]
        for kind, methods in found["aggregates"].items()
        for method, of in methods.items()
    ]
    if not rows:
        return ""
    rows += [
        [
            f"{of['name']}, at the steps of {of['at_the_steps_of']}",
            "training, means over seeds",
            f"{len(of['games'])} games",
            *(f"{of[name]:.3f}" for name in ("iqm", "median", "mean", "optimality_gap")),
        ]
        for of in found["beside"]
    ]
    heads = ("method", "score", "runs", "IQM", "median", "mean", "optimality gap")
    parts = ["<h2>All games together, human-normalised</h2>", _table(heads, rows)]
    if profiles := found["profiles"]:
        lines = [
            Line(
                method,
                list(zip(of["thresholds"], of["share"], strict=True)),
                [] if of["low"] is None else list(zip(of["low"], of["high"], strict=True)),
                colour,
            )
            for method, colour in _colours(found).items()
            if (of := profiles.get(method))
        ]
        title = "Share of runs that score above"
        figure = plot(title, lines, "human-normalised score of the last evaluation", span=(0, 1))
        parts.append(f'<div class="grid">{figure}</div>')
    if pairs := found["improvement"]:
        beaten = [[of["method"], of["over"], ", ".join(of["games"]), estimate(of)] for of in pairs]
        parts.append(_table(("method", "over", "games", "probability of improvement"), beaten))
    return "\n".join(parts)


def _game(found: dict[str, Any], game: str, number: int) -> str:
    """Curves and table of one game."""
    charts = "".join(_chart(found, game, kind) for kind in ("evaluation", "training"))
    heads = ("method", "runs", UNIT, "frames", "last evaluation", "best", "training return")
    rows = [
        [
            row["method"],
            f"{row['runs']} (seed {', '.join(map(str, row['seeds']))})",
            _span(row["agent_steps"]),
            _span(row["frames"]),
            score(row["evaluation"]),
            _number(row["best_evaluation"]),
            score(row["training"]),
        ]
        for row in found["games"][game]
    ]
    published: dict[tuple[str, str], list[str]] = {}  # once, whatever it is compared with
    for row in found["games"][game]:
        for name, of in row["published"]["at_the_same_steps"].items():
            steps = round(of["agent_steps"])
            where = (f"{steps:,}", f"{steps * FRAMES_PER_STEP:,}")
            published[name, where[0]] = [name, "published", *where, "", "", score(of["training"])]
        for name, of in row["published"]["final"].items():
            published[name, ""] = [name, "published", "", "", score(of["evaluation"]), "", ""]
    rows += [cells for _, cells in sorted(published.items())]
    return (
        f'<section aria-labelledby="game-{number}"><h2 id="game-{number}">{_text(game)}</h2>'
        f'<div class="grid">{charts}</div>{_table(heads, rows)}</section>'
    )


def _chart(found: dict[str, Any], game: str, kind: str) -> str:
    """The learning curves of a kind: Dopamine's are training returns, final scores evaluations."""
    colours = _colours(found)
    lines = []
    for method, curves in found["curves"][game].items():
        if curve := curves[kind]:
            several = curve["runs"] > 1
            lines.append(
                Line(
                    f"{method}, {curve['runs']} runs" if several else method,
                    list(zip(curve["agent_steps"], curve["mean"], strict=True)),
                    list(zip(curve["low"], curve["high"], strict=True)) if several else [],
                    colours[method],
                )
            )
    if not lines:
        return ""
    published, levels = found["published"], []
    names = [*published["curves"], *published["finals"]]
    others = {name: len(colours) + i for i, name in enumerate(names)}
    if kind == "training":
        for name, games in published["curves"].items():
            if points := games.get(game):
                drawn: Points = [(step, value) for step, value in points]
                label = f"{name}, sticky"
                lines.append(Line(label, drawn, (), others[name], dashed=True))
    else:
        levels = [
            Level(f"{name}, final", games[game], others[name])
            for name, games in published["finals"].items()
            if game in games
        ]
    return plot(TITLES[kind], lines, UNIT, levels, ("frames", FRAMES_PER_STEP))


def _colours(found: dict[str, Any]) -> dict[str, int]:
    """Each method's, the same all over the page."""
    return {method: colour for colour, method in enumerate(found["methods"])}


def _runs(found: dict[str, Any]) -> str:
    heads = ("run", "method", "game", "seed", UNIT, "evaluations", "last", "best", "device")
    rows = [
        [
            run["path"],
            run["method"],
            run["game"],
            str(run["seed"]),
            f"{run['agent_steps']:,}",
            str(run["evaluations"]),
            _evaluation(run["last"]),
            _evaluation(run["best"]),
            run["device"],
        ]
        for run in found["runs"]
    ]
    return f"<details><summary>Runs</summary>{_table(heads, rows)}</details>"


def _evaluation(line: dict[str, Any] | None) -> str:
    if line is None:
        return "none"
    bounds = f" ({line['low']:,.1f} to {line['high']:,.1f})" if line["low"] is not None else ""
    return f"{line['score']:,.1f}{bounds} at {line['step']:,}"


def _rules(found: dict[str, Any]) -> Iterable[str]:
    """How every score was measured."""
    for method, of in found["methods"].items():
        games = " or ".join(map(str, of["eval_episodes"]))
        yield (
            f"{method}: {of['rules_in_words']}; evaluations of at least {games} games, epsilon "
            f"{of['eval_epsilon']:g}"
        )
    for name, rules in found["published"]["rules"].items():
        yield f"{name}: {rules}"


def _table(heads: Iterable[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f'<th scope="col">{_text(name)}</th>' for name in heads)
    body = "".join(
        f'<tr><th scope="row">{_text(row[0])}</th>'
        + "".join(f"<td>{_text(cell)}</td>" for cell in row[1:])
        + "</tr>"
        for row in rows
    )
    return f'<div class="wide"><table><tr>{head}</tr>{body}</table></div>'


def _text(value: Any) -> str:
    """Safe as text and inside quotes."""
    return html.escape(str(value), quote=True)
