"""What a caption is worth: a reward for self-critical training that needs no references.

As in a quiz, what is true wins and what is false costs more: it pays to state what is likelier
than cost / (1 + cost), and to leave out the rest. That is 3 in 4 for a description, which shall be
complete, and 9 in 10 for a comment, which may choose. But a comment on anything else, where there
are points or a lost life to be told, costs as well, so that these are worth telling where they are
likelier than 7 in 10: or captioners learn to speak of what they cannot mistake, and never of what
matters. Rennie et al. 2017, "Self-Critical Sequence Training for Image Captioning", reward likeness
to people's captions instead.
"""

from __future__ import annotations

from agents.commentary.grammar import Clause
from agents.commentary.speech import judge, words_of
from agents.commentary.table import CHANGES, Truth

DESCRIBED, COMMENTED = 3.0, 9.0  # costs of what is false, or states nothing
MISSED = 2.0  # cost of a comment on anything else, where a figure has changed


def described(text: str, truth: Truth) -> float:
    """The main facts that it tells, less its mistakes, as a share of all main facts: at most 1."""
    found = judge(text, truth)
    wrong = len(found.false) + bool(found.unparsed)
    return (len(found.mentioned) - DESCRIBED * wrong) / len(truth.main)


def commented(text: str, truth: Truth) -> float:
    """How urgent what it says truly is, less its mistakes: 1 for what is most urgent now.

    A comment of an urgency lower by one wins half as much, as it is made half as often by
    `speech.comment`; one that no grammar of the game would make now wins nothing. Where a figure
    has changed, a comment that does not tell so loses `MISSED`.
    """
    found = judge(text, truth)
    answered = {statement.question for statement in found.true}
    answers = truth.answers()
    fitting = [c for c in words_of(truth.game).commenting if c.states(answers) is not None]
    said = [c for c in fitting if c.questions <= answered]
    most = max(c.urgency for c in fitting)
    won = 2.0 ** (max(c.urgency for c in said) - most) if said else 0.0
    missed = any(map(_is_news, fitting)) and not any(map(_is_news, said))
    return won - MISSED * missed - COMMENTED * (len(found.false) + bool(found.unparsed))


def _is_news(clause: Clause) -> bool:
    """Whether it tells that a figure changes."""
    return any(relation in CHANGES for _, relation in clause.questions)


MERITS = {"describe": described, "comment": commented}  # by register
