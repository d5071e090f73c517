"""What the pages of one room share."""

from dataclasses import dataclass

from dojo.core.catalog import Catalog
from dojo.core.paths import Checkout
from dojo.practice.rounds import ROLES
from dojo.room.runner import Runner
from dojo.room.sessions import Sessions


@dataclass
class Room:
    checkout: Checkout
    catalog: Catalog
    runner: Runner
    sessions: Sessions

    @classmethod
    def opened(cls, checkout: Checkout, catalog: Catalog) -> "Room":
        """A room whose fork server is starting."""
        return cls(checkout, catalog, Runner(checkout, catalog), Sessions(checkout, catalog))

    def has_katas_of(self, role: str) -> bool:
        """Whether this pack has the katas that the mock interview of the role names."""
        return {plan.kata for plan in ROLES[role] if plan.kata} <= {kata.name for kata in self.catalog.katas}

    def close(self) -> None:
        self.sessions.close()
        self.runner.close()
