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

import math
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any, NamedTuple

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
COMPOSITE = torch._C.DispatchKey.CompositeImplicitAutograd


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
        kind = _kind_of(func)
        if not kind.flops and (kind.is_composite or COMPOSITE in func.py_kernels):
            # In inference mode composite operators arrive undivided: count the operators that they consist of.
            with self:  # torch deactivates the mode while it handles an operator
                result = func.decompose(*args, **kwargs)
            if result is not NotImplemented:
                return result
        out = func(*args, **kwargs)
        if kind.flops:
            self.spent.flops += int(kind.flops(*args, **kwargs, out_val=out))
        if kind.is_view:
            return out
        read = tensors_in((args, kwargs))
        written = tensors_in(out)
        if not (read or written):
            return out
        self.spent.calls[kind.call] += 1
        inputs = {_memory(t) for t in read}
        outputs = 0
        for tensor in written:
            size = _size(tensor)
            outputs += size
            if _memory(tensor) not in inputs:
                self.spent.allocated += size
                self.spent.largest = max(self.spent.largest, size // tensor.element_size())
        self.spent.bytes += kind.written * outputs
        if kind.read:
            self.spent.bytes += kind.read * sum(map(_size, read[kind.first_read :]))
        return out


class _Kind(NamedTuple):
    """How one operator is counted."""

    call: str  # its name in `Cost.calls`
    flops: Callable[..., int] | None
    is_view: bool
    is_composite: bool
    written: int = 1  # how often the bytes of its results count
    read: int = 1  # and those of its tensors, from the one of this index on
    first_read: int = 0


@cache  # a loop over tiles dispatches tens of thousands
def _kind_of(func: Any) -> _Kind:
    packet = func._overloadpacket
    name = packet._qualified_op_name.split("::")[-1]
    is_composite = torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), COMPOSITE)
    kind = _Kind(f"aten.{name}", FLOPS.get(packet), func.is_view or packet in VIEWS, is_composite)
    if name in GATHERS:
        return kind._replace(written=2, first_read=1)
    if name in SCATTERS:
        return kind._replace(written=0, read=2, first_read=1)
    if name.startswith("empty") or name == "_local_scalar_dense":
        return kind._replace(written=0, read=0)
    return kind._replace(read=0) if name in FILLS else kind


def tensors_in(tree: Any) -> list[Tensor]:
    """All tensors in nested lists, tuples and dicts."""
    tensors: list[Tensor] = []
    _collect(tree, tensors)
    return tensors


def _collect(tree: Any, tensors: list[Tensor]) -> None:
    if isinstance(tree, Tensor):
        tensors.append(tree)
    elif isinstance(tree, list | tuple):
        for part in tree:
            _collect(part, tensors)
    elif isinstance(tree, dict):
        for part in tree.values():
            _collect(part, tensors)


def _memory(tensor: Tensor) -> int:
    """A number that is equal for tensors that share memory. A sparse tensor has no storage; it never shares."""
    return tensor.untyped_storage()._cdata if tensor.layout is torch.strided else id(tensor)


def _size(tensor: Tensor) -> int:
    """Bytes of the distinct elements: the elements along an expanded dimension (stride 0) are one in memory."""
    count = tensor.numel()
    if tensor.layout is torch.strided and count and 0 in (strides := tensor.stride()):
        count = math.prod(size for size, stride in zip(tensor.shape, strides, strict=True) if stride)
    return count * tensor.element_size()
