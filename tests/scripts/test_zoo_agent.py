"""Cards of agents: what published ones had after as many frames, and the table of all."""

import sys
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest

from agents.agent import ZOO, Agent, zoo
from agents.evaluation import Evaluation, pooled
from agents.presets import PRESETS
from agents.qnetwork import QNetwork
from agents.references import References
from agents.screen import watch
from playground.config import to_json
from playground.errors import UserError
from playground.media import read_video
from playground.run import Run, read_json, write_json
from playground.trainer import TrainerConfig
from scripts.benchmarks import zoo_agent
from scripts.benchmarks.zoo_agent import CURVES, FILMS, MARKS, film, marks, pairs, write_table

GAME = Evaluation("pong", {}, 0.01, 7, [1.0], 1.0, 1.0, 0.0, (1.0, 1.0), None, 9.0, 36)


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
        "minutes": 32.4, "command": "train it", "hardware": "one",
    }  # fmt: skip
    write_json(tmp_path / "a.json", card | {"course": "Halted for a while."})
    write_json(tmp_path / "b.json", card | {"marks": {MARKS[0]: 4.5, "Dopamine DQN": 3.1}})
    write_table(tmp_path)
    rows = (tmp_path / "README.md").read_text(encoding="utf-8").splitlines()[-4:]
    score = "17.2 (15.1 to 19.5)"
    assert rows[0] == f"| a | {score} | {score} | 0.01 |  |  | 2,000,028 | 32 | one | `train it` |"
    assert (
        rows[1] == f"| b | {score} | {score} | 0.01 | 4.5 |  | 2,000,028 | 32 | one | `train it` |"
    )
    assert rows[2:] == ["", "a: Halted for a while."]
    (tmp_path / FILMS).mkdir()
    (tmp_path / FILMS / "a.gif").touch()
    write_table(tmp_path)
    text = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert text.endswith("a: Halted for a while.\n\n![a](films/a.gif)\n")
    (tmp_path / CURVES).touch()
    write_table(tmp_path)
    assert f"]({CURVES})\n\n![a](films/a.gif)\n" in (tmp_path / "README.md").read_text("utf-8")


def test_a_film_shows_what_flickers(tmp_path, monkeypatch) -> None:
    """Of each agent step the brighter of the last two emulator frames."""
    monkeypatch.setattr("scripts.benchmarks.zoo_agent.SECONDS", 1)
    agent = Agent(QNetwork(4, hidden=8), "breakout")
    played = list(islice(watch(agent, protocol="machado"), 61))
    expected = [played[0].pixels]  # the starting screen has a step of its own, of one frame
    expected += [np.maximum(played[i].pixels, played[i + 1].pixels) for i in range(3, 61, 4)]
    shown = [frame.pixels for frame in pairs(iter(played))]
    np.testing.assert_array_equal(np.stack(shown), np.stack(expected))
    film(agent, 0.0, 7, tmp_path / FILMS / "a.gif")
    pictures, rate = read_video(tmp_path / FILMS / "a.gif")
    assert len(list(pictures)) >= 14 and rate == pytest.approx(100 / 7, abs=0.01)


def test_where_no_film_can_be_made_nothing_is_written(tmp_path, monkeypatch) -> None:
    """Not the weights or the card either."""
    config = replace(PRESETS["laptop"], game="pong", width=0.25, hidden=8)
    run = Run.create(
        tmp_path, "dqn", "a", to_json(config), preset="laptop", engine="ours",
        trainer=to_json(TrainerConfig(steps=8)), precision={"precision": "fp32", "device": "x"},
    )  # fmt: skip
    agent = Agent(QNetwork(6, hidden=8), "pong")
    agent.save(run.path / "best.safetensors", trained_agent_steps=8)
    run.log(8, **{f"evaluate/{name}": 0.0 for name in ("score", "low", "high")})
    run.close()
    monkeypatch.setattr(zoo_agent, "SECONDS", 1)
    monkeypatch.setattr(zoo_agent, "evaluate", lambda agent, **options: pooled(GAME, GAME))

    def refused(path, **options):
        raise UserError("There is no encoder.")

    words = ["zoo_agent.py", str(run.path), "pong", "--zoo", str(tmp_path / "zoo")]
    monkeypatch.setattr(sys, "argv", words)
    with monkeypatch.context() as patch:
        patch.setattr(zoo_agent, "VideoWriter", refused)
        assert zoo_agent.main() == 2 and not (tmp_path / "zoo").exists()
    assert zoo_agent.main() == 0
    files = sorted(path.name for path in (tmp_path / "zoo").rglob("*.*"))
    assert files == ["README.md", "pong.gif", "pong.json", "pong.safetensors"]


def test_every_agent_that_ships_has_its_film() -> None:
    assert {path.stem for path in (ZOO / FILMS).glob("*.gif")} == set(zoo())


@pytest.mark.parametrize("path", sorted(ZOO.glob("*.json")), ids=lambda path: path.stem)
def test_what_ships_is_at_least_as_good_as_rainbow_after_as_many_frames(path) -> None:
    """A card without a mark was written without --references."""
    card = read_json(path)
    assert card["scores"]["machado"]["mean"] >= card["marks"][MARKS[0]]
