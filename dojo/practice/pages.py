"""The pages that cover the verdict until they are left: a hint, the list of tests, the solution.

A page makes its lines once, not for each key. Only the keys in its footer mean something while it is open.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from dojo.core.language import say, to_say

LEAVE_KEYS = ("q", "escape", "enter")
SCROLL_STEPS = {  # in lines; the ends are clipped when the screen is drawn
    "up": -1,
    "k": -1,
    "down": 1,
    "j": 1,
    "space": 10,
    "page up": -10,
    "page down": 10,
    "home": -(10**6),
    "end": 10**6,
}
Actions = Mapping[str, tuple[str, Callable[[], object]]]  # a key, and what it does: in words, and the function
CURSOR, NO_CURSOR = " ▸ ", "   "


class Entry(str):
    """A line of a list that can be chosen. It begins with NO_CURSOR, in no colour."""


@dataclass
class Page:
    """`make` returns the lines; `actions` are the keys of this page beyond those that every page has."""

    make: Callable[[], list[str]]
    actions: Actions = field(default_factory=dict)
    below: "Page | None" = None  # the page that comes back when this one is left
    _made: tuple[int, list[str]] | None = None  # for which width, and the lines

    def lines(self, width: int) -> list[str]:
        if self._made is None or self._made[0] != width:
            self._made = width, self.make()
        return self._made[1]

    def forget(self) -> None:
        """Makes the lines again when they are next drawn, because what they show has changed."""
        self._made = None

    @property
    def keys(self) -> dict[str, str]:
        """What each key does, for the footer."""
        own = {key.title() if len(key) > 1 else key: words for key, (words, _) in self.actions.items()}
        ends = {"Home": say("top"), "End": say("end")}
        return own | {say("arrows"): say(self.arrows), **ends, say("Esc or q"): say("back")}

    arrows = to_say("scroll")

    def move(self, step: int, scroll: int) -> int:
        """The line to begin with after a key that moves by `step`."""
        return scroll + step

    def visible(self, scroll: int, room: int) -> int:
        """The line to begin with, near `scroll`, so that what matters is among `room` lines."""
        return scroll


@dataclass
class ListPage(Page):
    """A page on which the arrows choose one of the entries."""

    chosen: int = 0  # its number among the entries

    arrows = to_say("choose")

    def lines(self, width: int) -> list[str]:
        lines = list(super().lines(width))
        if places := self._places():
            self.chosen = max(0, min(self.chosen, len(places) - 1))
            place = places[self.chosen]
            lines[place] = CURSOR + lines[place].removeprefix(NO_CURSOR)
        return lines

    def move(self, step: int, scroll: int) -> int:
        self.chosen = max(0, min(self.chosen + step, len(self._places()) - 1))
        return scroll

    def visible(self, scroll: int, room: int) -> int:
        place = self._places()[self.chosen] if self._places() else 0
        if self.chosen == 0:
            return 0  # with the heading above it
        return min(max(scroll, place - room + 2), place)  # the last line may say that there are more

    def _places(self) -> list[int]:
        """The lines that are entries."""
        return [
            number
            for number, line in enumerate(self._made[1] if self._made else self.make())
            if isinstance(line, Entry)
        ]
