"""The dataclass is the command line and the JSON, in both directions."""

import argparse
from dataclasses import dataclass
from typing import Any

import pytest

from playground.config import TASK_UNIT, add_arguments, apply_arguments, from_json, setting, to_json
from playground.errors import UserError


@dataclass
class Settings:
    agent_steps: int = setting(100, "how many", unit="agent steps")
    rate: float = setting(1e-3, "learning rate, 10% less is fine")
    hours: float | None = setting(None, "budget", unit="hours")
    name: str = setting("nature", "which", choices=("nature", "impala"))
    double: bool = setting(True, "two networks")
    widths: tuple[int, ...] = setting((1, 2), "channels")
    limit: int | None = setting(5, "at most")

    def check(self) -> None:
        if self.agent_steps < 0:
            raise UserError("--agent-steps cannot be negative.")


def parse(*words: str) -> Settings:
    parser = argparse.ArgumentParser()
    add_arguments(parser, Settings)
    return apply_arguments(Settings(), parser.parse_args(list(words)))


def test_flags_and_their_types() -> None:
    assert parse() == Settings()
    given = parse(
        *("--agent-steps", "2e6", "--rate", "1", "--hours", "0.5", "--name", "impala"),
        *("--no-double", "--widths", "16,32,32", "--limit", "none"),
    )
    assert given == Settings(2_000_000, 1.0, 0.5, "impala", False, (16, 32, 32), None)
    assert isinstance(given.agent_steps, int) and isinstance(given.rate, float)
    assert parse("--limit", "12345678901234567").limit == 12345678901234567


def test_flags_not_given_leave_a_preset_alone() -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser, Settings)
    preset = Settings(agent_steps=7, name="impala")
    namespace = parser.parse_args(["--rate", "2"])
    assert vars(namespace) == {"rate": 2.0}
    assert apply_arguments(preset, namespace) == Settings(7, 2.0, name="impala")


def test_help_has_units_and_defaults() -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser, Settings)
    text = " ".join(parser.format_help().split())
    assert "how many, agent steps (default 100)" in text
    assert "budget, hours (default none)" in text
    assert "10% less is fine (default 0.001)" in text
    assert "{nature,impala}" in text and "--no-double" in text and "(default 1,2)" in text


def test_help_tells_a_presets_values_and_the_tasks_unit() -> None:
    @dataclass
    class Ours(Settings):
        every: int | None = setting(None, "now and then", TASK_UNIT)

    parser = argparse.ArgumentParser()
    add_arguments(parser, Ours, Ours(agent_steps=7, every=3), "updates")
    text = " ".join(parser.format_help().split())
    assert "agent steps (default 7)" in text and "now and then, updates (default 3)" in text
    assert vars(parser.parse_args([])) == {}


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--agent-steps", "-3"), "cannot be negative"),
        (("--name", "natur"), "--name is one of nature, impala, not 'natur'.*Did you mean"),
    ],
)
def test_values_out_of_range(words: tuple[str, ...], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        parse(*words)


@pytest.mark.parametrize(
    "words", [("--agent-steps", "1.5"), ("--rate", "fast"), ("--widths", "1,x"), ("--rate", "none")]
)
def test_values_of_another_type(words: tuple[str, ...], capsys: Any) -> None:
    with pytest.raises(SystemExit) as stopped:
        parse(*words)
    assert stopped.value.code == 2 and "is not a" in capsys.readouterr().err


def test_json_round_trip() -> None:
    settings = Settings(widths=(3,), hours=1.0, limit=None)
    assert from_json(Settings, to_json(settings)) == settings
    assert to_json(settings)["widths"] == [3]
    assert from_json(Settings, {"hours": 2}).hours == 2.0


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"agent_step": 3}, "no setting 'agent_step'.*agent_steps"),
        ({"agent_steps": "3"}, "--agent-steps takes a whole number, not '3'"),
        ({"agent_steps": True}, "--agent-steps takes a whole number"),
        ({"agent_steps": None}, "--agent-steps"),
        ({"double": 1}, "--double takes true or false"),
        ({"widths": [1, "2"]}, "--widths takes a whole number"),
        ({"widths": 3}, "--widths takes a list of int"),
        ({"name": "vgg"}, "--name is one of"),
        ({"agent_steps": -1}, "negative"),
    ],
)
def test_foreign_json(values: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        from_json(Settings, values)
