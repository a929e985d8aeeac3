"""Captions as tokens, tokens as numbers, and numbers as readable sentences again.

`tokenize` splits text of any language that sets spaces between words, `sentence` undoes it: lower
case, quotes made plain, spaces as one prints them. `Vocabulary` numbers the tokens; it is plain
JSON, so a model's file carries it in its metadata.

A token that sticks to the one before it, where a space would be usual, begins with JOIN: in
"'팩맨'이", "팩맨(노란 공)이", "at&t" all that was written without a space is read back without one.
Spelled numbers use the same mark: 1250 is "1", "##2", "##5", "##0", so that twenty tokens say every
score, be it in the training's captions or not.
"""

import functools
import hashlib
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Self

import torch
from torch import Tensor

from playground.errors import UserError

JOIN = "##"  # as in WordPiece (Wu et al. 2016)
STICK_LEFT = "'.,!?;:%°、。\uff0c\uff0e\uff01\uff1f\uff1a\uff1b"  # no space before; full-width too
STICK_RIGHT = "#$£₩"  # no space behind; opening brackets and quotes too
# Quotes as tokens tell which side they are on; text may have them plain.
OPEN, CLOSE, OPEN_SINGLE = "“", "”", "\u2018"
PRINTED = {OPEN: '"', CLOSE: '"', OPEN_SINGLE: "'"}

SPECIAL = ("<pad>", "<begin>", "<end>", "<unk>")  # no text has these as tokens: "<" is one
PAD, BEGIN, END, UNKNOWN = range(len(SPECIAL))
FORMAT = 1  # of the JSON

_PLAIN = str.maketrans("’\u00b4`„«»", "'''\"\"\"", "\u00ad\ufeff\u200b")  # drops what is unseen
_SINGLE_QUOTED = re.compile(
    rf"{OPEN_SINGLE}([^{OPEN_SINGLE}']+)'"
    r"|(?<!\w)'(?!(?:s|t|re|ve|ll|d|m)\b)(?=\S)([^']+)(?<=\S)'(?![a-z0-9])"
)


@functools.cache
def _pattern() -> re.Pattern[str]:
    """Tokens of lower-case text. Letters carry their combining marks, as Hindi's vowels are."""
    marks, start = "\u200c\u200d", None  # joiners: of letters (Persian), of emoji
    for code in range(0x300, 0x1F000):
        is_mark = unicodedata.category(chr(code))[0] == "M"
        if is_mark and start is None:
            start = code
        elif not is_mark and start is not None:
            marks, start = f"{marks}{chr(start)}-{chr(code - 1)}", None
    letter = rf"(?:[^\W_][{marks}]*)"
    clitic = rf"'(?:s|re|ve|ll|d|m)(?!{letter})"
    return re.compile(
        rf"\d+(?:[.,:]\d+)+{letter}*"  # 1,000  3.5  10:30pm
        rf"|{clitic}"
        rf"|{letter}+(?:(?:-|(?!{clitic})'){letter}+)*"  # tri-colored  o'clock  don't
        rf"|\.{{2,}}|-{{2,}}|\S[{marks}]*"
    )


def tokenize(text: str) -> list[str]:
    """The tokens of a caption: words in lower case, numbers, single marks; [] for blank text.

    Unicode is composed first (NFC), so that Korean from every system is alike. Words keep their
    hyphens; "man's" is "man", "'s" and "don't" is "do", "n't", as pycocoevalcap's tokeniser has it.
    Scripts without spaces (Chinese, Japanese, Thai) come out as a token a clause.
    """
    text = unicodedata.normalize("NFC", text).lower().translate(_PLAIN)
    text = text.replace("…", "...").replace("''", '"')
    text = _SINGLE_QUOTED.sub(lambda found: OPEN + (found[1] or found[2]) + CLOSE, text)
    tokens: list[str] = []
    end, is_open = -1, False
    for found in _pattern().finditer(text):
        token, glued = found[0], found.start() == end
        end = found.end()
        leads = end < len(text) and not text[end].isspace()  # it touches what follows
        if token == '"':
            token = OPEN if (leads if leads != glued else not is_open) else CLOSE
        elif token == "'" and leads and not glued:
            token = OPEN_SINGLE
        elif token.startswith(".."):
            token = "..."
        if token in (OPEN, CLOSE):
            is_open = token == OPEN
        if token.endswith("n't") and token != "n't":
            parts = [token[:-3], "n't"]
        else:
            parts = [token]
        if glued and _spaced(tokens[-1].removeprefix(JOIN), parts[0]):
            parts[0] = JOIN + parts[0]
        tokens += parts
    return tokens


def sentence(tokens: Iterable[str], capital: bool = False) -> str:
    """Tokens as one prints them: `tokenize`'s inverse but for case, spaces and shapes of quotes.

    `capital`: the first letter of each sentence is one, unless a number comes before it.
    """
    text, before = "", ""
    for token in tokens:
        if before and _spaced(before, token):
            text += " "
        plain = token.removeprefix(JOIN)
        text += PRINTED.get(plain, plain)
        before = plain
    first = next((place for place, sign in enumerate(text) if sign.isalnum()), None)
    if capital and first is not None:
        text = text[:first] + text[first].upper() + text[first + 1 :]
        text = re.sub(r"(?<=[.!?] )\w", lambda found: found[0].upper(), text)
    return text


def metric_tokens(text: str) -> list[str]:
    """The tokens that metrics count: `tokenize` without punctuation, and without JOIN.

    Papers count what Stanford's PTBTokenizer gives, in Java, without punctuation: of Flickr8k's
    captions these tokens are the same in 99.9 %.
    """
    plain = (token.removeprefix(JOIN) for token in tokenize(text))
    return [token for token in plain if not all(map(_is_punctuation, token))]


def _is_punctuation(sign: str) -> bool:
    """Marks of a sentence and quotes, not signs that stand for a word, such as & or %."""
    return unicodedata.category(sign)[0] == "P" and sign not in "&%#@*/"


def _spaced(before: str, token: str) -> bool:
    """Whether a space is usual between two tokens."""
    if token.startswith(JOIN) or token == "n't" or token[0] in STICK_LEFT:
        return False
    if before[0] in STICK_RIGHT or unicodedata.category(before[0]) in ("Ps", "Pi"):
        return False
    return unicodedata.category(token[0]) not in ("Pe", "Pf")


class Vocabulary:
    """Tokens <-> numbers 0..V-1; the first are PAD, BEGIN, END and UNKNOWN.

    Args:
        words: all tokens but the special ones, each once.
        spell_numbers: words with digits are split before and behind each digit.

    `words` (V,) has the special ones too. `fingerprint` tells vocabularies apart.
    """

    def __init__(self, words: Sequence[str], spell_numbers: bool = False) -> None:
        self.words = (*SPECIAL, *words)
        self.spell_numbers = spell_numbers
        self.index = {word: number for number, word in enumerate(self.words)}
        if len(self.index) < len(self.words):
            raise ValueError("a vocabulary has each word once, and none of the special tokens")

    @classmethod
    def build(
        cls, captions: Iterable[str], min_count: int = 5, spell_numbers: bool = False
    ) -> Self:
        """Of what stands in the captions at least `min_count` times, the most frequent first.

        5 is the usual count for photos (Karpathy & Fei-Fei 2015). With `spell_numbers` all digits
        are in it, seen or not. UserError where nothing stands there so often.
        """
        counts = Counter(token for text in captions for token in _pieces(text, spell_numbers))
        words = [word for word, count in counts.items() if count >= min_count]
        if not words:
            raise UserError(
                f"No word stands {min_count} times in the captions; give more captions or a lower "
                "minimum count."
            )
        if spell_numbers:
            digits = [join + digit for join in ("", JOIN) for digit in "0123456789"]
            words += [digit for digit in digits if counts[digit] < min_count]
        return cls(sorted(words, key=lambda word: (-counts[word], word)), spell_numbers)

    def __len__(self) -> int:
        return len(self.words)

    def extended(self, other: Self) -> Self:
        """With the words of another that it lacks behind its own, which keep their numbers."""
        more = [word for word in other.words if word not in self.index]
        return type(self)([*self.words[len(SPECIAL) :], *more], self.spell_numbers)

    def pieces(self, text: str) -> list[str]:
        """The tokens of a caption as they are numbered, known or not."""
        return _pieces(text, self.spell_numbers)

    def encode(self, captions: Sequence[str], longest: int | None = None) -> Tensor:
        """Captions as (B, L) int64: BEGIN, tokens, END, then PAD; what is not known is UNKNOWN.

        L is what the longest caption needs. Tokens beyond the first `longest` are cut off.
        """
        rows = [
            [BEGIN, *(self.index.get(piece, UNKNOWN) for piece in self.pieces(text)[:longest]), END]
            for text in captions
        ]
        out = torch.full((len(rows), max(map(len, rows), default=0)), PAD)
        for row, numbers in zip(out, rows, strict=True):
            row[: len(numbers)] = torch.tensor(numbers)
        return out

    def decode(self, numbers: Tensor, capital: bool = True) -> list[str]:
        """(B, L) int64 as B sentences, each up to its first END; UNKNOWN is printed as "<unk>".

        ValueError for a number outside of 0..V-1.
        """
        return [sentence(self.tokens(row), capital) for row in numbers.tolist()]

    def tokens(self, numbers: Iterable[int]) -> list[str]:
        """One caption's numbers as tokens, up to the first END, without BEGIN and PAD."""
        found = []
        for number in numbers:
            if number == END:
                break
            if not 0 <= number < len(self):
                raise ValueError(f"there is no word {number} in a vocabulary of {len(self)}")
            if number not in (PAD, BEGIN):
                found.append(self.words[number])
        return found

    def to_json(self) -> str:
        """For a model file's metadata."""
        about = {"format": FORMAT, "spell_numbers": self.spell_numbers}
        return json.dumps({**about, "words": self.words[len(SPECIAL) :]}, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str, source: Any) -> Self:
        """What `to_json` wrote; UserError, which names `source`, for anything else."""
        try:
            about = json.loads(text)
            if not isinstance(about, dict) or about.get("format") != FORMAT:
                raise ValueError(f"it is not of format {FORMAT}")
            words, spell_numbers = about.get("words"), about.get("spell_numbers")
            if not isinstance(words, list) or not isinstance(spell_numbers, bool):
                raise ValueError("it has no list of words")
            if not all(isinstance(word, str) and word.split() == [word] for word in words):
                raise ValueError("not all of its words are words")
            return cls(words, spell_numbers)
        except (ValueError, RecursionError) as error:  # JSON's own errors are ValueErrors
            raise UserError(
                f"The vocabulary in {source} is damaged or none of a captioner: {error}."
            ) from error

    @functools.cached_property
    def fingerprint(self) -> str:
        """16 hexadecimal digits of a hash of all that decides what a number means."""
        return hashlib.sha256(self.to_json().encode(errors="surrogatepass")).hexdigest()[:16]


def _pieces(text: str, spell_numbers: bool) -> list[str]:
    tokens = tokenize(text)
    if not spell_numbers:
        return tokens
    return [piece for token in tokens for piece in _spelled(token)]


def _spelled(token: str) -> list[str]:
    """The token "1,250점" as "1", "##,", "##2", "##5", "##0", "##점"; without digits as it is."""
    plain = token.removeprefix(JOIN)
    first, *others = re.findall(r"\d|\D+", plain)
    return [token[: len(token) - len(plain)] + first, *(JOIN + part for part in others)]
