"""Settings: a dataclass <-> the command line <-> JSON. The dataclass is the only truth.

    @dataclass
    class Config:
        steps: int | None = setting(None, "stop after so many", unit="agent steps")

gives the flag `--steps`, its help with unit and default, and its place in config.json.
Field types: bool, int, float, str, tuple[T, ...], each also as `T | None` ("none" on the line).
"""

import argparse
import dataclasses
import types
import typing
from collections.abc import Sequence
from typing import Any, TypeVar

from playground.errors import UserError, nearest

Config = TypeVar("Config")


def setting(default: Any, help: str, unit: str = "", choices: Sequence[Any] | None = None) -> Any:
    """A dataclass field with what the command line needs to know about it."""
    metadata = {"help": help, "unit": unit, "choices": tuple(choices) if choices else None}
    return dataclasses.field(default=default, metadata=metadata)


TASK_UNIT = "task units"  # of settings whose unit depends on what is trained


def add_arguments(
    parser: argparse.ArgumentParser, config_class: type, config: Any = None, unit: str = TASK_UNIT
) -> None:
    """One `--kebab-flag` a field. Flags not given leave no trace, so presets can be overlaid.

    Args:
        config: whose values the help calls the defaults; the class's own if None.
        unit: in the place of TASK_UNIT.
    """
    group = parser.add_argument_group(f"{config_class.__name__} settings")
    for field, kind in _fields(config_class).values():
        meta = field.metadata
        value = field.default if config is None else getattr(config, field.name)
        default = "none" if value is None else _shown(value)
        of = unit if meta.get("unit") == TASK_UNIT else meta.get("unit")
        units = f", {of}" if of else ""
        options: dict[str, Any] = {
            "dest": field.name,
            "default": argparse.SUPPRESS,
            "help": f"{meta.get('help', '')}{units} (default {default})".replace("%", "%%"),
        }
        if kind is bool:
            options["action"] = argparse.BooleanOptionalAction
        else:
            options["type"] = _parser_of(kind)
            names = meta.get("choices")
            options["metavar"] = "{" + ",".join(map(_shown, names)) + "}" if names else _label(kind)
        group.add_argument("--" + field.name.replace("_", "-"), **options)


def apply_arguments(config: Config, namespace: argparse.Namespace) -> Config:
    """`config` with the given flags in the place of its own values, validated."""
    names = {field.name for field in dataclasses.fields(config)}  # type: ignore[arg-type]
    given = {name: value for name, value in vars(namespace).items() if name in names}
    return validate(dataclasses.replace(config, **given))  # type: ignore[type-var]


def validate(config: Config) -> Config:
    """`config` itself, checked against types, choices and its own `check()`; or UserError."""
    for field, kind in _fields(type(config)).values():
        value, choices = getattr(config, field.name), field.metadata.get("choices")
        _checked(field.name, value, kind)
        if choices and value is not None and value not in choices:
            allowed = ", ".join(map(_shown, choices))
            hint = nearest(str(value), map(str, choices))
            raise UserError(f"{_flag(field.name)} is one of {allowed}, not '{value}'.{hint}")
    if hasattr(config, "check"):
        config.check()
    return config


def to_json(config: Any) -> dict[str, Any]:
    """The settings as plain JSON values (tuples as lists)."""
    values = {f.name: getattr(config, f.name) for f in dataclasses.fields(config)}
    return {key: list(v) if isinstance(v, tuple) else v for key, v in values.items()}


def from_json(config_class: type[Config], values: dict[str, Any]) -> Config:
    """The inverse of `to_json`; absent keys take their default."""
    fields = _fields(config_class)
    for key in values.keys() - fields.keys():
        name = config_class.__name__
        raise UserError(f"{name} has no setting '{key}'.{nearest(key, fields)}")
    checked = {key: _checked(key, value, fields[key][1]) for key, value in values.items()}
    return validate(config_class(**checked))


def _fields(config_class: type) -> dict[str, tuple[dataclasses.Field, Any]]:
    """Field name -> (field, its type with the annotation's text resolved)."""
    kinds = typing.get_type_hints(config_class)
    return {f.name: (f, kinds[f.name]) for f in dataclasses.fields(config_class)}


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _optional(kind: Any) -> tuple[Any, bool]:
    """(T, True) for `T | None`, (T, False) for T."""
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        others = [arm for arm in typing.get_args(kind) if arm is not type(None)]
        if len(others) != 1 or len(typing.get_args(kind)) != 2:
            raise TypeError(f"A setting's type is T or T | None, not {kind}.")
        return others[0], True
    return kind, False


def _item(kind: Any) -> Any:
    """T of tuple[T, ...], else None."""
    return typing.get_args(kind)[0] if typing.get_origin(kind) is tuple else None


def _label(kind: Any) -> str:
    """What --help shows where the value goes."""
    inner, _ = _optional(kind)
    item = _item(inner)
    return f"{item.__name__.upper()},..." if item else inner.__name__.upper()


def _shown(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value).lower()


def _parser_of(kind: Any) -> Any:
    """The function from text to value, for argparse."""
    inner, optional = _optional(kind)
    item = _item(inner)

    def one(text: str, kind: Any) -> Any:
        if kind is bool:
            words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
            return words[text.lower()]
        if kind is int:
            number = float(text)  # so that 1e6 is a whole number too
            if number != int(number):
                raise ValueError(text)
            return int(number) if any(c in text for c in ".eE") else int(text.replace("_", ""))
        return kind(text)

    def parse(text: str) -> Any:
        if optional and text.lower() == "none":
            return None
        try:
            if item:
                return tuple(one(part, item) for part in text.split(",") if part)
            return one(text, inner)
        except (ValueError, KeyError, OverflowError) as error:
            raise argparse.ArgumentTypeError(f"'{text}' is not {_described(kind)}") from error

    return parse


def _described(kind: Any) -> str:
    """A type in words, for error messages."""
    inner, optional = _optional(kind)
    words = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}
    item = _item(inner)
    text = f"a list of {item.__name__}" if item else words.get(inner, str(inner))
    return f"{text} or none" if optional else text


def _checked(name: str, value: Any, kind: Any) -> Any:
    """`value` as the field's type (lists become tuples, whole numbers floats), or a UserError."""
    inner, optional = _optional(kind)
    if value is None and optional:
        return None
    item = _item(inner)
    if item and isinstance(value, list | tuple):
        return tuple(_checked(name, part, item) for part in value)
    if inner is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    # bool is an int to Python, and a flag is no number of steps.
    if item or not isinstance(value, inner) or (isinstance(value, bool) and inner is not bool):
        raise UserError(f"{_flag(name)} takes {_described(kind)}, not {value!r}.")
    return value
