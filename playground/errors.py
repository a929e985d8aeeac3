"""Mistakes of the user's: one clear sentence instead of a traceback."""

import difflib
from collections.abc import Iterable, Sequence


class UserError(Exception):
    """Something the user can put right; the message is one sentence that says how.

    The command line prints it to stderr and exits with status 2.
    """


def nearest(name: str, names: Iterable[str], n: int = 3) -> str:
    """The known names most like a misspelt one, as a sentence to append to a message.

    Returns " Did you mean 'pong' or 'pooyan'?", or "" where nothing is alike.
    """
    known = {known.lower(): known for known in names}
    alike = [known[found] for found in difflib.get_close_matches(name.lower(), known, n)]
    if not alike:
        return ""
    *first, last = [f"'{found}'" for found in alike]
    return f" Did you mean {', '.join(first)}{' or ' if first else ''}{last}?"


def listed(names: Sequence[str]) -> str:
    """Names for a sentence, the first few of many: "a, b, c, d and 2 more"."""
    more = f" and {len(names) - 4} more" if len(names) > 4 else ""
    return ", ".join(names[:4]) + more
