"""Counts what a repair changed without need: the lines that can be taken back without one more test failing.

Lines that held a planted mistake may be changed. Of the others the tests judge, because a mistake can often be mended in
another line than the one in which it was planted.
"""

import difflib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

MAX_RUNS = 12  # of the tests for one repair; what is left then counts as needed


@dataclass(frozen=True)
class Edit:
    """One line changed, removed or added: the lines from `begin` to `end` of the text before become `new`."""

    begin: int
    end: int
    new: tuple[str, ...]
    line: int  # of the text before, at which it counts as done
    hunk: int  # edits that touch each other have the same number
    number: int  # of the edit: the same line may be added twice


def edits(before: str, after: str) -> list[Edit]:
    """The edits that make `after` of `before`; whole lines are compared, without their ends."""
    old, new = before.splitlines(), after.splitlines()
    changes: list[tuple[int, int, tuple[str, ...], int, int]] = []
    codes = difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes()
    for hunk, (operation, begin, end, new_begin, new_end) in enumerate(codes):
        if operation == "equal":
            continue
        common = min(end - begin, new_end - new_begin)
        for k in range(common):
            changes.append((begin + k, begin + k + 1, (new[new_begin + k],), begin + k, hunk))
        for k in range(begin + common, end):
            changes.append((k, k + 1, (), k, hunk))
        for k in range(new_begin + common, new_end):
            changes.append((end, end, (new[k],), end - 1 if common else end, hunk))
    return [Edit(*change, number) for number, change in enumerate(changes)]


def apply(before: str, some_edits: Iterable[Edit]) -> str:
    """`before` with these edits, which `edits` returned in this order."""
    lines = before.splitlines()
    done: list[str] = []
    place = 0
    for edit in some_edits:
        done += [*lines[place : edit.begin], *edit.new]
        place = edit.end
    return "\n".join([*done, *lines[place:]]) + "\n"


def beyond_the_bugs(planted: str, final: str, working: str) -> list[Edit]:
    """The edits on the way from `planted` to `final` in lines that held no planted mistake."""
    bug_lines = {edit.line for edit in edits(planted, working)}
    return [edit for edit in edits(planted, final) if edit.line not in bug_lines]


def count_unneeded(planted: str, final: str, working: str, fails_more: Callable[[str], bool]) -> int:
    """How many lines `final` changes without need.

    `fails_more(source)` runs the tests and says whether one fails that passes with `final`. All doubtful edits are taken
    back at once, then those of each hunk, then each alone.
    """
    kept = edits(planted, final)
    doubtful = beyond_the_bugs(planted, final, working)
    unneeded, tried = 0, set[tuple[Edit, ...]]()
    for split in (_whole, _hunks, _lines):
        for group in split(doubtful):
            if group in tried or len(tried) == MAX_RUNS:
                continue
            tried.add(group)
            rest = [edit for edit in kept if edit not in group]
            if not fails_more(apply(planted, rest)):
                kept, unneeded = rest, unneeded + len(group)
        doubtful = [edit for edit in doubtful if edit in kept]
    return unneeded


def _whole(some_edits: Sequence[Edit]) -> list[tuple[Edit, ...]]:
    return [tuple(some_edits)] if some_edits else []


def _hunks(some_edits: Sequence[Edit]) -> list[tuple[Edit, ...]]:
    return [tuple(group) for _, group in groupby(some_edits, key=lambda edit: edit.hunk)]


def _lines(some_edits: Sequence[Edit]) -> list[tuple[Edit, ...]]:
    return [(edit,) for edit in some_edits]
