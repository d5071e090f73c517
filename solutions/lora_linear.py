"""LoRA on a linear layer.

How do you fine-tune a 4096 x 4096 layer by training 0.8 % of its parameters, and what does the adapter cost once it
is trained? Write the layer, with merge and unmerge.

The pretrained weight W is frozen. Next to it learns a low-rank update,
    y = W x + b + (alpha / rank) B A dropout(x),    A [rank, in],  B [out, rank],
and, since the update is linear too, it can be added to W afterwards: W' = W + (alpha / rank) B A costs nothing extra.

Rules: everything that torch offers may be called. The layer works for inputs with any number of leading dimensions
(also none), contiguous or not, in float16, bfloat16, float32 and float64; x is not modified.

Stage 1: the update, its start, what trains, merge and unmerge.  Stage 2: shapes, dropout, bad values, merging at
awkward moments.  Stage 3: dtypes, devices, gradients.  Stage 4: the forward costs at most 1.05 times the FLOPs of the
base (1024 -> 1024, rank 4, 16 rows) and allocates nothing of the size of W; merged it costs exactly the base's FLOPs;
forward and backward together, with a gradient for x, cost at most 1.05 times two products with W.

Source: Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models" (2021).
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F


class LoRALinear(nn.Module):
    """`base` plus a trainable low-rank update, scaled by alpha / rank.

    `base` is the layer that was given, not a copy: its weight and bias stay the same Parameters with the same values,
    and no longer require a gradient. The trainable parameters are `lora_A` [rank, in] and `lora_B` [out, rank], with
    the dtype and device of the base's weight. A is drawn at random (the distribution is yours; its rows are linearly
    independent), B is zero. The registered parameters are base.weight, base.bias (if there is one), lora_A and lora_B,
    each once, and the state dict holds these and nothing else, merged or not.

    `merged` is False at first. Only merge() and unmerge() change it, and only they write into the base's weight:
    train() and eval() switch dropout, nothing else. While merged, neither the adapter nor the base's weight is changed
    from outside. A deep copy of the layer, merged or not, is a layer of its own.
    """

    def __init__(self, base: nn.Linear, rank: int, alpha: float, dropout: float = 0.0) -> None:
        """Wraps `base`. Raises ValueError if rank < 1, or if dropout lies outside [0, 1) or is NaN."""
        # kata: begin
        super().__init__()
        if rank < 1:
            raise ValueError(f"rank must be at least 1, got {rank}")
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout must lie in [0, 1), got {dropout}")
        self.scaling = alpha / rank
        self.dropout = nn.Dropout(dropout)
        self.base = base.requires_grad_(False)
        self.lora_A = nn.Parameter(base.weight.new_empty(rank, base.in_features))
        self.lora_B = nn.Parameter(base.weight.new_zeros(base.out_features, rank))
        nn.init.kaiming_uniform_(self.lora_A, a=math.sqrt(5))  # U(-1, 1) / sqrt(in), where nn.Linear starts too
        self.merged = False
        # kata: end

    def forward(self, x: Float[Tensor, "*batch in_features"]) -> Float[Tensor, "*batch out_features"]:
        """base(x) + alpha / rank * B A dropout(x), in the dtype of x; just base(x), without dropout, while merged.

        Dropout zeroes single elements of the update's input, in training only, and scales the others by
        1 / (1 - dropout) as nn.Dropout does; base itself sees x as it is.
        """
        # kata: begin
        if self.merged:
            return self.base(x)
        hidden = F.linear(self.dropout(x), self.lora_A)  # [*batch, in] -> [*batch, rank]
        # The floor is base(x): 2 in out FLOPs a row, or reading W. The branch adds rank (in + out) / (in out) of that
        # (0.8 % at 4096 and rank 16) and one more pass over the output.
        # Scaled here, where it touches rank numbers a row and not out.
        return self.base(x) + F.linear(hidden * self.scaling, self.lora_B)  # [*batch, rank] -> [*batch, out]
        # kata: end

    def merge(self) -> None:
        """Adds alpha / rank * B A to base.weight in place; does nothing if it is merged already.

        Weight and adapter count as they are at the call: both may have changed since an earlier merge. base.weight
        stays the same frozen Parameter of the same dtype, in the same memory, which a tied layer's view or a captured
        CUDA graph may share; lora_A and lora_B are kept as they are. In training mode, too, the whole update is added,
        without dropout. A gradient then reaches x, but not lora_A or lora_B.
        """
        # kata: begin
        if not self.merged:
            with torch.no_grad():
                self.base.weight.addmm_(self.lora_B, self.lora_A, alpha=self.scaling)
            self.merged = True
        # kata: end

    def unmerge(self) -> None:
        """Takes the update out of base.weight again, in place, up to rounding; does nothing if it is not merged."""
        # kata: begin
        if self.merged:
            with torch.no_grad():
                self.base.weight.addmm_(self.lora_B, self.lora_A, alpha=-self.scaling)
            self.merged = False
        # kata: end
