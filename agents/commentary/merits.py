"""What a caption is worth: a reward for self-critical training that needs no references.

As in a quiz, what is true wins and what is false costs more: it pays to state what is likelier
than cost / (1 + cost), and to leave out the rest. That is 3 in 4 for a description, which shall be
complete, and 9 in 10 for a comment, which may choose. Rennie et al. 2017, "Self-Critical Sequence
Training for Image Captioning", reward likeness to people's captions instead.
"""

from __future__ import annotations

from agents.commentary.speech import judge, words_of
from agents.commentary.table import Truth

DESCRIBED, COMMENTED = 3.0, 9.0  # costs of what is false, or states nothing


def described(text: str, truth: Truth) -> float:
    """The main facts that it tells, less its mistakes, as a share of all main facts: at most 1."""
    found = judge(text, truth)
    wrong = len(found.false) + bool(found.unparsed)
    return (len(found.mentioned) - DESCRIBED * wrong) / len(truth.main)


def commented(text: str, truth: Truth) -> float:
    """How urgent what it says truly is, less its mistakes: 1 for what is most urgent now.

    A comment of an urgency lower by one wins half as much, as it is made half as often by
    `speech.comment`; one that no grammar of the game would make now wins nothing.
    """
    found = judge(text, truth)
    answered = {statement.question for statement in found.true}
    answers = truth.answers()
    fitting = [c for c in words_of(truth.game).commenting if c.states(answers) is not None]
    said = [c.urgency for c in fitting if c.questions <= answered]
    won = 2.0 ** (max(said) - max(c.urgency for c in fitting)) if said else 0.0
    return won - COMMENTED * (len(found.false) + bool(found.unparsed))


MERITS = {"describe": described, "comment": commented}  # by register
