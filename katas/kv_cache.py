"""kv_cache.

The question, in a sentence or two.

The formulas. The rules: what may not be called, and why. Every convention that the tests insist on.

Stage 1: one example.  Stage 2: edges and batches.  Stage 3: numerics and dtypes.  Stage 4: cost.
"""

from jaxtyping import Float
from torch import Tensor


def kv_cache(x: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch n"]:
    """What it returns, in shapes and units. What raises ValueError. The source."""
    raise NotImplementedError("kv_cache.kv_cache: write me")
