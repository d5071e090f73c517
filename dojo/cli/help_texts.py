"""The help of all commands and options, in the reader's language."""

import inspect
import re
from collections.abc import Iterator

import click

from dojo.core.language import ENGLISH, language, say

FIRST_SENTENCE = re.compile("(?<=\u3002)|\n")
KINDS = ("help", "short_help", "epilog")


def help_texts(command: click.Command) -> Iterator[str]:
    """Every text in the English help of `command`, of its options and of the commands below it."""
    for owner in _owners(command):
        yield from filter(None, _english(owner).values())


def translate_help(command: click.Command) -> None:
    """Puts these texts into the reader's language, whatever language they are in now."""
    for owner in _owners(command):
        for kind, text in _english(owner).items():
            setattr(owner, kind, say(text) if text else None)
        if isinstance(owner, click.Command) and owner.help and not owner.short_help and language() != ENGLISH:
            owner.short_help = FIRST_SENTENCE.split(owner.help)[0]  # click looks for a full stop and a blank


def _english(owner: click.Command | click.Option) -> dict[str, str | None]:
    """The texts of `owner` by their kind, as they were before any translation."""
    texts = {kind: getattr(owner, kind) for kind in KINDS if hasattr(owner, kind)}
    cleaned = {kind: inspect.cleandoc(text) if text else None for kind, text in texts.items()}
    english: dict[str, str | None] = vars(owner).setdefault("help_in_english", cleaned)
    return english


def _owners(command: click.Command) -> Iterator[click.Command | click.Option]:
    """`command`, its options, and those of the commands below it that learners and teachers see."""
    yield command
    yield from (parameter for parameter in command.params if isinstance(parameter, click.Option))
    if isinstance(command, click.Group):
        for below in command.commands.values():
            if not below.hidden and below.name != "dev":  # katas are made in English
                yield from _owners(below)
