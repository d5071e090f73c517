"""Counts what a block of code costs (bytes, FLOPs, operators). Unlike time, the counts are equal on every machine.

    with measure() as spent:
        sample_top_k(logits, 50)
    spent.bytes        # read and written by the dispatched operators (views are free)
    spent.allocated    # bytes of fresh memory that they returned
    spent.largest      # elements of the largest tensor in it: what tells tiled from naive
    spent.flops        # of matrix products, convolutions and attention (torch's own formulas)
    spent.calls        # Counter of operator names: {"aten.topk": 1, ...}; views are not counted

Operators are counted below autograd, so a `backward()` inside the block counts too. Work outside torch (numpy, Python
loops over `.tolist()`) is not counted, so a test that sets an upper limit should set a lower one as well.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry, mm_flop, sdpa_backward_flop, sdpa_flop

# torch's formulas, and those that it has for the GPU's operators alone.
FLOPS = flop_registry | {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: sdpa_flop,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: sdpa_backward_flop,
    torch.ops.aten._int_mm: mm_flop,
}
# Operators that read as many elements as they return (plus the index), however large the tensor is.
GATHERS = {"gather", "index", "index_select", "embedding", "take", "take_along_dim", "select_scatter"}
# Operators that change as many elements as they are given (plus the index), however large the tensor is.
SCATTERS = {"index_put_", "_index_put_impl_", "scatter_", "scatter_add_", "index_add_", "index_copy_", "index_fill_"}
# Operators that write their result and read nothing.
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
# Views that torch does not declare as views.
VIEWS = {torch.ops.aten.detach, torch.ops.aten._unsafe_view}


@dataclass
class Cost:
    """The totals of one measured block."""

    bytes: int = 0
    allocated: int = 0
    largest: int = 0
    flops: int = 0
    calls: Counter[str] = field(default_factory=Counter)

    @property
    def operators(self) -> int:
        """The number of operators that ran, without views."""
        return self.calls.total()


@contextmanager
def measure() -> Iterator[Cost]:
    """Counts the operators of the block; the totals are complete at its end."""
    spent = Cost()
    with _Counting(spent):
        yield spent


class _Counting(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's class is not annotated
    """Sees every operator that is dispatched while it is active, and adds its cost to `spent`."""

    def __init__(self, spent: Cost) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # likewise
        self.spent = spent

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # otherwise torch imports its compiler (which takes a second) to disable it for this mode

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        packet = func._overloadpacket
        if packet not in FLOPS:
            # In inference mode composite operators arrive undivided: count the operators that they consist of.
            with self:  # torch deactivates the mode while it handles an operator
                result = func.decompose(*args, **kwargs)
            if result is not NotImplemented:
                return result
        out = func(*args, **kwargs)
        read = tensors_in((args, kwargs))
        written = tensors_in(out)
        if packet in FLOPS:
            self.spent.flops += int(FLOPS[packet](*args, **kwargs, out_val=out))
        if func.is_view or packet in VIEWS or not (read or written):
            return out
        name = packet._qualified_op_name.split("::")[-1]
        self.spent.calls[f"aten.{name}"] += 1
        outputs = sum(map(_size, written))
        inputs = set(map(_memory, read))
        fresh = [t for t in written if _memory(t) not in inputs]
        self.spent.allocated += sum(map(_size, fresh))
        self.spent.largest = max([self.spent.largest, *(_size(t) // t.element_size() for t in fresh)])
        if name in GATHERS:
            self.spent.bytes += 2 * outputs + sum(_size(t) for t in read[1:])
        elif name in SCATTERS:
            self.spent.bytes += 2 * sum(_size(t) for t in read[1:])
        elif name.startswith("empty") or name == "_local_scalar_dense":
            pass
        else:
            self.spent.bytes += outputs + (0 if name in FILLS else sum(map(_size, read)))
        return out


def tensors_in(tree: Any) -> list[Tensor]:
    """All tensors in nested lists, tuples and dicts."""
    if isinstance(tree, Tensor):
        return [tree]
    if isinstance(tree, dict):
        tree = tuple(tree.values())
    return [tensor for part in tree for tensor in tensors_in(part)] if isinstance(tree, list | tuple) else []


def _memory(tensor: Tensor) -> int:
    """A number that is equal for tensors that share memory. A sparse tensor has no storage; it never shares."""
    return tensor.untyped_storage()._cdata if tensor.layout is torch.strided else id(tensor)


def _size(tensor: Tensor) -> int:
    """Bytes of the distinct elements: the elements along an expanded dimension (stride 0) are one in memory."""
    if tensor.is_sparse or tensor.layout is not torch.strided:
        return tensor.numel() * tensor.element_size()
    count = 1
    for size, stride in zip(tensor.shape, tensor.stride(), strict=True):
        count *= 1 if stride == 0 and size > 1 else size
    return count * tensor.element_size()
