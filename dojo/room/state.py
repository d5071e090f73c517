"""What the pages of one room share."""

from dataclasses import dataclass

from dojo.core.catalog import Catalog
from dojo.core.paths import Checkout
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

    def close(self) -> None:
        self.sessions.close()
        self.runner.close()
