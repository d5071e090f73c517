"""What a call costs, counted rather than timed: the same verdict on every machine.

    with measure() as spent:
        sample_top_k(logits, 50)
    spent.bytes        # read and written by the dispatched operators (views are free)
    spent.allocated    # bytes of fresh memory that they returned
    spent.flops        # of matrix products, convolutions and attention (torch's own formulas)
    spent.calls        # Counter of operator names: {"aten.topk": 1, ...}; views are not counted

Operators are counted below autograd, so a `backward()` inside the block counts too. Work done outside torch (numpy,
python loops over `.tolist()`) is invisible: a test that limits a cost also asks that the work was seen at all.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

# These read as many elements as they return (plus the index), however large the tensor they pick from.
PICKS = {"gather", "index", "index_select", "embedding", "take", "take_along_dim", "select_scatter"}
# These change as many elements as they are given (plus the index) of a tensor that may be much larger.
PLACES = {"index_put_", "_index_put_impl_", "scatter_", "scatter_add_", "index_add_", "index_copy_", "index_fill_"}
# These write what they return without reading it first.
FILLS = {
    "empty",
    "empty_like",
    "zeros",
    "zeros_like",
    "ones",
    "ones_like",
    "full",
    "full_like",
    "arange",
    "scalar_tensor",
}
# Views that torch does not declare as such.
VIEWS = {torch.ops.aten.detach, torch.ops.aten._unsafe_view}


@dataclass
class Cost:
    """Totals of one measured block."""

    bytes: int = 0
    allocated: int = 0
    flops: int = 0
    calls: Counter[str] = field(default_factory=Counter)

    @property
    def operators(self) -> int:
        """How many operators ran, views not counted."""
        return self.calls.total()


@contextmanager
def measure() -> Iterator[Cost]:
    """Counts what the block dispatches; read the totals after it."""
    spent = Cost()
    with _Counting(spent):
        yield spent


class _Counting(TorchDispatchMode):
    def __init__(self, spent: Cost) -> None:
        super().__init__()
        self.spent = spent

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # torch would import its compiler (a second) only to keep it away from this mode

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        packet = func._overloadpacket
        if packet not in flop_registry:
            # In inference mode composite operators arrive whole: count what they are made of.
            with self:  # the mode is off while it handles a call
                result = func.decompose(*args, **kwargs)
            if result is not NotImplemented:
                return result
        out = func(*args, **kwargs)
        read = _tensors((args, kwargs))
        written = _tensors(out)
        if packet in flop_registry:
            self.spent.flops += int(flop_registry[packet](*args, **kwargs, out_val=out))
        if func.is_view or packet in VIEWS or not (read or written):
            return out
        name = packet._qualified_op_name.split("::")[-1]
        self.spent.calls[f"aten.{name}"] += 1
        outputs = sum(map(_size, written))
        known = set(map(_memory, read))
        self.spent.allocated += sum(_size(t) for t in written if _memory(t) not in known)
        if name in PICKS:
            self.spent.bytes += 2 * outputs + sum(_size(t) for t in read[1:])
        elif name in PLACES:
            self.spent.bytes += 2 * sum(_size(t) for t in read[1:])
        elif name.startswith("empty") or name == "_local_scalar_dense":
            pass
        else:
            self.spent.bytes += outputs + (0 if name in FILLS else sum(map(_size, read)))
        return out


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


def _memory(tensor: Tensor) -> int:
    """Equal for tensors that share memory; a sparse tensor has no storage to ask, and counts as memory of its own."""
    return tensor.untyped_storage()._cdata if tensor.layout is torch.strided else id(tensor)


def _size(tensor: Tensor) -> int:
    """Bytes of the distinct elements: an expanded dimension (stride 0) is read from one place."""
    if tensor.is_sparse or tensor.layout is not torch.strided:
        return tensor.numel() * tensor.element_size()
    count = 1
    for size, stride in zip(tensor.shape, tensor.stride(), strict=True):
        count *= 1 if stride == 0 and size > 1 else size
    return count * tensor.element_size()
