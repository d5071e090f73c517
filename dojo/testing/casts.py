"""Counts casts that no standard defines: of NaN and infinities to an integer dtype.

    with UndefinedCasts() as casts:
        codes = (x / scale).round().to(torch.int8)
    casts.count            # elements

On one machine they become 0, on another the largest integer, so a test that only looks at the result may see nothing.
"""

from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from dojo.testing.cost import tensors_in

CASTS = ("_to_copy", "copy_")


class UndefinedCasts(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's class is not annotated
    """Sees every operator that is dispatched while it is active, and counts what is cast and not finite."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # likewise
        self.count = 0

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # otherwise torch imports its compiler (which takes a second) to disable it for this mode

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **kwargs or {})
        name = func._overloadpacket._qualified_op_name.split("::")[-1]
        if name in CASTS and isinstance(out, Tensor) and not (out.is_floating_point() or out.is_complex()):
            floats = [t for t in tensors_in(args) if t.is_floating_point()]
            self.count += sum(int((~t.isfinite()).sum()) for t in floats)
        return out
