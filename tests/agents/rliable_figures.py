"""What rliable finds, kept in rliable_figures.json, as it installs in few places.

    python -m tests.agents.rliable_figures FOLDER

FOLDER is that of the published curves (`dopamine_curves.csv.gz`). Needs the extra [metrics]. Made
with rliable 1.2.0.
"""

import csv
import gzip
import json
import sys
from itertools import product
from pathlib import Path

import numpy as np

from agents import statistics

KEPT = Path(__file__).with_suffix(".json")
THRESHOLDS = (0.0, 0.25, 1.0, 2.5, 8.0)


def published(folder):
    """Agent -> (runs, games) human-normalised: Dopamine's last iterations stand for runs."""
    found = {}
    with gzip.open(folder / "dopamine_curves.csv.gz", "rt") as file:
        for row in csv.DictReader(file):
            if int(row["iteration"]) >= 192:
                found.setdefault(row["agent"], {}).setdefault(row["game"], []).append(row)
    scored = {}
    for agent, games in found.items():
        returns = {
            game: [float(row["mean_return"]) for row in rows] for game, rows in games.items()
        }
        scored[agent] = np.stack(list(statistics.normalised(returns).values()), axis=1)
    return scored


def made():
    """Two (5, 11) matrices that are the same on every machine, ties among their scores."""
    places = np.arange(55).reshape(5, 11)
    return {
        "one": (places * 37 % 55) / 10 - 0.5,
        "other": (places * 17 % 53) // 3 / 4.0,
    }


def pairs(scores):
    """Those that are compared: the first half's agents with the second half's."""
    names = list(scores)
    return list(product(names[: len(names) // 2], names[len(names) // 2 :]))


def theirs(scores):
    """rliable's figures of agent -> (runs, games)."""
    from rliable import library, metrics

    found = {
        agent: {
            "iqm": metrics.aggregate_iqm(matrix),
            "median": metrics.aggregate_median(matrix),
            "mean": metrics.aggregate_mean(matrix),
            "optimality_gap": metrics.aggregate_optimality_gap(matrix),
            "profile": library.score_distributions(matrix, np.array(THRESHOLDS)).tolist(),
        }
        for agent, matrix in scores.items()
    }
    improvement = [
        metrics.probability_of_improvement(scores[one], scores[other])
        for one, other in pairs(scores)
    ]
    return {"agents": found, "improvement": improvement}


if __name__ == "__main__":
    figures = {"published": theirs(published(Path(sys.argv[1]))), "made": theirs(made())}
    KEPT.write_text(json.dumps(figures, indent=1) + "\n")
