"""True captions of games: statements from memory, sentences from statements, and back.

`examples(game, seed)` yields clips with their `Truth`; `describe` and `comment` put a truth into
words; `parse` reads the statements of a sentence, `judge` holds it against a truth; `mentions`
finds the objects that it names, whose boxes `Example.boxes` has.
"""

from agents.commentary.clips import (
    FAR_APART,
    FRAMES,
    SPACING,
    STRANGERS,
    USUAL,
    Example,
    examples,
)
from agents.commentary.facts import moment, statements
from agents.commentary.games import TABLES
from agents.commentary.speech import (
    Judgement,
    Parsed,
    comment,
    describe,
    judge,
    mentions,
    parse,
    tokens,
    vocabulary,
)
from agents.commentary.table import Moment, Statement, Truth

GAMES = tuple(sorted(TABLES))

__all__ = [
    "FAR_APART",
    "FRAMES",
    "GAMES",
    "SPACING",
    "STRANGERS",
    "TABLES",
    "USUAL",
    "Example",
    "Judgement",
    "Moment",
    "Parsed",
    "Statement",
    "Truth",
    "comment",
    "describe",
    "examples",
    "judge",
    "mentions",
    "moment",
    "parse",
    "statements",
    "tokens",
    "vocabulary",
]
