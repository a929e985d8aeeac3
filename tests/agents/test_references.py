"""Published figures: read by their columns, whatever the file's name; what is broken is said."""

import gzip

import pytest

from agents import references
from playground.errors import UserError

CURVES = """game,agent,iteration,mean_return,std_over_seeds,n_seeds
pong,DQN,1,-19,0.1,5
pong,DQN,0,-20.5,0.1,5
SpaceInvaders,Rainbow,0,200,1,5
pong,C51,0,1,1,5
nosuchgame,DQN,0,1,1,5
"""
NATURE = "# a comment\ngame,random,nature_dqn_mean\npong,-20.7,18.9\nberzerk,123.7,\n"
ZOO = """algo,env_id,mean_reward,std_reward,n_timesteps
dqn,PongNoFrameskip-v4,20.6,0.6,10M
dqn,CartPole-v1,500,0,50k
qrdqn,BreakoutNoFrameskip-v4,394,1,10M
ppo,PongNoFrameskip-v4,21,0,10M
"""


@pytest.fixture
def folder(tmp_path):
    with gzip.open(tmp_path / "a.csv.gz", "wt") as file:
        file.write(CURVES)
    (tmp_path / "b.csv").write_text(NATURE)
    (tmp_path / "c.csv").write_text(ZOO)
    (tmp_path / "d.csv").write_text("other,columns\n1,2\n")
    (tmp_path / "e.txt").write_text("no table")
    return tmp_path


def test_a_folder_gives_all_kinds(folder):
    found = references.read(folder)
    assert found.curves == {
        "Dopamine DQN": {"pong": ((250_000, -20.5), (500_000, -19.0))},
        "Dopamine Rainbow": {"space_invaders": ((250_000, 200.0),)},
    }
    assert found.finals == {
        "Nature DQN": {"pong": 18.9},
        "RL Zoo DQN": {"pong": 20.6},
        "RL Zoo QR-DQN": {"breakout": 394.0},
    }
    assert found.rules.keys() == found.curves.keys() | found.finals.keys()
    assert "sticky" in found.rules["Dopamine DQN"] and "5 seeds" in found.rules["Dopamine DQN"]
    assert "40M frames" in found.rules["RL Zoo DQN"]
    assert found.sticky.keys() == found.lives.keys() == found.rules.keys()
    assert found.lives["Nature DQN"] and not found.lives["Dopamine DQN"]
    assert found.sticky["Dopamine DQN"] == 0.25 and found.sticky["RL Zoo DQN"] == 0


def test_one_file_alone(folder):
    found = references.read(folder / "b.csv")
    assert not found.curves and list(found.finals) == ["Nature DQN"]


def test_the_newest_point_that_was_reached():
    curve = ((10.0, 1.0), (20.0, 2.0))
    assert references.at(curve, 9) is None
    assert references.at(curve, 19) == (10.0, 1.0)
    assert references.at(curve, 20) == references.at(curve, 99) == (20.0, 2.0)


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("none.csv", None, "There is no"),
        ("x.csv", "other,columns\n1,2\n", "no published figures"),
        ("x.csv", "", "no published figures"),
        ("x.csv", "game,agent,iteration,mean_return\npong,C51,0,1\n", "of DQN, Rainbow, IQN"),
        ("x.csv", "game,nature_dqn_mean\npong,\n", "no published figures"),
        ("x.csv", CURVES + "pong,DQN,2\n", "not whole"),
        ("x.csv", CURVES + "pong,DQN,2,high,1,5\n", "not whole"),
        ("x.csv", "agent,iteration,mean_return,game\nDQN,0,-20\n", "not whole: DQN,0,-20 has no"),
        ("x.csv", "nature_dqn_mean,game\n18.9\n", "not whole: 18.9 has no game"),
        ("x.csv", ZOO + "dqn,BreakoutNoFrameskip-v4,1,2\n", "has no n_timesteps"),
        ("x.csv.gz", CURVES, "Cannot read"),  # not compressed
    ],
)
def test_what_is_wrong_is_one_sentence(tmp_path, name, text, says):
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=says):
        references.read(tmp_path / name)


def test_a_packed_file_that_was_spoilt_is_one_sentence(tmp_path):
    content = bytearray(gzip.compress(CURVES.encode()))
    content[10] = 0xFF  # the first block's kind: there is none such
    (tmp_path / "x.csv.gz").write_bytes(content)
    with pytest.raises(UserError, match="Cannot read"):
        references.read(tmp_path)


def test_the_real_files(data_dir):
    found = references.read(data_dir / "dqn_reference")
    assert {name: len(games) for name, games in found.curves.items()} == dict.fromkeys(
        ("Dopamine DQN", "Dopamine Rainbow", "Dopamine IQN"), 60
    )
    assert found.curves["Dopamine DQN"]["pong"][-1] == (199 * 250_000, pytest.approx(16.6, abs=0.1))
    assert found.finals["Nature DQN"]["breakout"] == pytest.approx(401, abs=1)
    assert found.finals["RL Zoo DQN"]["pong"] == pytest.approx(20.6, abs=0.05)
