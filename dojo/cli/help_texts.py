"""The help of all commands and options, in the reader's language."""

import inspect
import re
from collections.abc import Iterator
from typing import Any

import click

from dojo.core.language import say

FIRST_SENTENCE = re.compile("(?<=\u3002)|\n")


def help_texts(command: click.Command) -> Iterator[str]:
    """Every text in the help of `command`, of its options and of the commands below it."""
    for owner, attribute in _places(command):
        yield inspect.cleandoc(getattr(owner, attribute))


def translate_help(command: click.Command) -> None:
    """Replaces these texts by their translations."""
    for owner, attribute in _places(command):
        translation = say(inspect.cleandoc(getattr(owner, attribute)))
        setattr(owner, attribute, translation)
        if isinstance(owner, click.Command) and attribute == "help" and not owner.short_help:
            owner.short_help = FIRST_SENTENCE.split(translation)[0]  # click looks for a full stop and a blank


def _places(command: click.Command) -> Iterator[tuple[Any, str]]:
    owners = [command, *(parameter for parameter in command.params if isinstance(parameter, click.Option))]
    for owner in owners:
        for attribute in ("help", "short_help", "epilog"):
            if getattr(owner, attribute, None):
                yield owner, attribute
    if isinstance(command, click.Group):
        for below in command.commands.values():
            if not below.hidden and below.name != "dev":  # katas are made in English
                yield from _places(below)
