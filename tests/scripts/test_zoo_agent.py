"""Cards of agents: what published ones had after as many frames, and the table of all."""

import pytest

from agents.agent import ZOO
from agents.references import References
from playground.run import read_json, write_json
from scripts.benchmarks.zoo_agent import MARKS, marks, write_table


def test_marks_are_those_of_as_many_steps() -> None:
    curve = ((250_000, 1.0), (500_000, 4.54), (750_000, 11.8))
    references = References(curves={MARKS[0]: {"breakout": curve}, "Dopamine DQN": {"pong": curve}})
    assert marks(references, "breakout", 500_007) == {MARKS[0]: 4.5}
    assert marks(references, "breakout", 499_999) == {MARKS[0]: 1.0}
    assert marks(references, "breakout", 200_000) == {}
    assert marks(references, "seaquest", 500_007) == {}


def test_the_table_has_a_row_a_card_with_or_without_a_mark_and_a_note(tmp_path) -> None:
    result = {"mean": 17.25, "interval": [15.1, 19.5], "epsilon": 0.01}
    card = {
        "game": "breakout", "scores": {"machado": result, "sb3": result}, "frames": 2_000_028,
        "minutes": 32.4, "command": "train it",
    }  # fmt: skip
    write_json(tmp_path / "a.json", card | {"course": "Halted for a while."})
    write_json(tmp_path / "b.json", card | {"marks": {MARKS[0]: 4.5, "Dopamine DQN": 3.1}})
    write_table(tmp_path)
    rows = (tmp_path / "README.md").read_text(encoding="utf-8").splitlines()[-4:]
    score = "17.2 (15.1 to 19.5)"
    assert rows[0] == f"| a | {score} | {score} | 0.01 |  |  | 2,000,028 | 32 | `train it` |"
    assert rows[1] == f"| b | {score} | {score} | 0.01 | 4.5 |  | 2,000,028 | 32 | `train it` |"
    assert rows[2:] == ["", "a: Halted for a while."]


MARKED = [path for path in sorted(ZOO.glob("*.json")) if "marks" in read_json(path)]


@pytest.mark.parametrize("path", MARKED, ids=lambda path: path.stem)
def test_what_ships_is_at_least_as_good_as_rainbow_after_as_many_frames(path) -> None:
    card = read_json(path)
    assert card["scores"]["machado"]["mean"] >= card["marks"][MARKS[0]]
