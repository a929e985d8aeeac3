"""What every `train` verb says and takes alike."""

import os
import shlex
from pathlib import Path

import pytest

from scripts.training import quoted


@pytest.mark.parametrize("word", [Path("runs/dqn/a"), "the scream", "it's $HOME"])
def test_words_come_through_a_posix_shell(word, monkeypatch):
    monkeypatch.setattr(os, "name", "posix")
    assert shlex.split(quoted(word)) == [str(word)]


def test_cmd_gets_double_quotes_and_only_where_they_are_needed(monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(os, "name", "nt")
        found = [quoted(r"C:\My runs\a"), quoted(r"C:\runs\a"), quoted("it's")]
    assert found == [r'"C:\My runs\a"', r"C:\runs\a", "it's"]
