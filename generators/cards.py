"""The cards of the generators that ship: what each makes, how it was trained, what it scored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from generators.painter import Credit
from playground.run import read_json

ZOO = Path(__file__).with_name("zoo")


def cards() -> dict[str, dict[str, Any]]:
    """By name; UserError for a card that cannot be read."""
    return {path.stem: read_json(path) for path in sorted(ZOO.glob("*.json"))}


def told(card: dict[str, Any]) -> list[str]:
    """What it makes, in lines; the first one is a sentence."""
    if card["task"] == "style":
        credits = [str(Credit(name, **credit)) for name, credit in card["styles"].items()]
        return [f"paints in {len(credits)} styles: watch --style NAME, paint --fast", *credits]
    if card["task"] == "dcgan":
        return [f"dreams of {', '.join(card['classes'])}: dream"]
    if "games" not in card:
        return ["says what is in photos: caption PICTURE"]
    return [f"says what happens in {', '.join(card['games'])}: watch --captions, caption"]
