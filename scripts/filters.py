"""Filters of frames that a command line can ask for: a table, in the order in which they are run.

Each way adds its flags to a verb's parser, and makes its filter of the flags that were given, or
None where it was not asked for. A filter that holds something, such as a thread, has a `close()`.
The verb finds what makes them in its arguments, as `make_filters`, and so knows of none of them.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from playground.frames import Filter
from scripts.commenting import add_captions, captions_filter, captions_shown
from scripts.fast_painting import add_style, style_filter
from scripts.seeing import (
    add_features,
    add_saliency,
    add_value,
    features_filter,
    saliency_filter,
    value_filter,
)


@dataclass(frozen=True)
class Way:
    """How one filter enters a command line."""

    add: Callable[[argparse.ArgumentParser], None]
    make: Callable[[argparse.Namespace], Filter | None]


FILTERS: dict[str, Way] = {
    "captions": Way(add_captions, captions_filter),
    "style": Way(add_style, style_filter),
    "saliency": Way(add_saliency, saliency_filter),
    "captions shown": Way(lambda parser: None, captions_shown),
    "value": Way(add_value, value_filter),
    "features": Way(add_features, features_filter),
}


def add_filters(parser: argparse.ArgumentParser) -> None:
    """The flags of all filters; and `make_filters` among the arguments, which is `asked_for`."""
    for way in FILTERS.values():
        way.add(parser)
    parser.set_defaults(make_filters=asked_for)


@contextmanager
def asked_for(args: argparse.Namespace) -> Iterator[list[Filter]]:
    """The filters of the given flags, until the block ends; UserError for what they cannot use."""
    with ExitStack() as stack:
        found: list[Filter] = []
        for way in FILTERS.values():
            change = way.make(args)
            if change is not None:
                found.append(change)
                stack.callback(getattr(change, "close", lambda: None))
        yield found
