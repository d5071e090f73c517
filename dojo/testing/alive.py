"""Counts what a block of code holds at a time, where dojo.testing.cost counts what it has made in all.

    with Alive() as alive:
        loss = chunked_loss(hidden, weight)
        alive.elements()   # of the tensors that operators have made and that still exist, in a graph for example
    alive.peak             # the most that existed at a time

Memory that two tensors share counts once, and the block's arguments do not count.
"""

from typing import Any

from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode

from dojo.testing.cost import tensors_in


class Alive(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's class is not annotated
    """Sees every operator that is dispatched while it is active, and keeps weak references to what they return."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # likewise
        self.peak = 0
        self._made: dict[int, tuple[StorageWeakRef, int]] = {}  # and the number of elements

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # otherwise torch imports its compiler (which takes a second) to disable it for this mode

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **kwargs or {})
        given = {t.untyped_storage()._cdata for t in tensors_in((args, kwargs or {}))}
        for tensor in tensors_in(out):
            storage = tensor.untyped_storage()
            if storage._cdata not in given:
                reference = StorageWeakRef(storage)  # type: ignore[no-untyped-call]  # torch's is not annotated
                self._made[storage._cdata] = reference, storage.nbytes() // tensor.element_size()
        self.peak = max(self.peak, self.elements())
        return out

    def elements(self) -> int:
        """The elements of the tensors that the block has made so far and that still exist."""
        gone = [key for key, (reference, _) in self._made.items() if reference.expired()]  # type: ignore[no-untyped-call]
        for key in gone:
            del self._made[key]
        return sum(elements for _, elements in self._made.values())
