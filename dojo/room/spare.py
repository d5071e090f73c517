"""A fork server that waits for the next drill or hunt of the room."""

import threading

from dojo.core.paths import Checkout
from dojo.engine.forkserver import ForkServer


class Spare:
    """One fork server that has loaded torch, for the next drill or hunt. What comes back when there is one is closed."""

    def __init__(self, checkout: Checkout) -> None:
        self.checkout = checkout
        self._forkserver: ForkServer | None = None
        self._closed = False
        self._lock = threading.Lock()

    def warm_up(self) -> None:
        """Starts one, unless there is one, so that torch loads while a start page is read."""
        self.give_back(self.take())

    def take(self) -> ForkServer:
        with self._lock:
            forkserver, self._forkserver = self._forkserver, None
        return forkserver or ForkServer(self.checkout)

    def give_back(self, forkserver: ForkServer) -> None:
        with self._lock:
            if not (self._closed or self._forkserver):
                self._forkserver = forkserver
                return
        forkserver.close()

    def close(self) -> None:
        with self._lock:
            self._closed = True
            forkserver, self._forkserver = self._forkserver, None
        if forkserver:
            forkserver.close()
