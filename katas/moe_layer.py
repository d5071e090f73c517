"""A mixture of experts.

Route tokens to 2 of 8 experts: gate, dispatch, combine, balancing loss, capacity. What does it compute, and what does
it store?

The gate is a linear layer that gives each token a logit for each expert. A token goes to the k experts of its largest
probabilities, and the layer answers with their answers, weighted:
    p = softmax(gate(x)),    y = sum over the k chosen i of w_i expert_i(x)
w_i = p_i / (sum of the k chosen p), or with renormalize=False p_i itself. The balancing loss of n tokens is
    experts * sum_i f_i P_i
f_i is the share of expert i in the n k assignments of tokens to experts, so that all f_i add up to 1. P_i is the mean of
p_i over the n tokens.

Rules: everything that torch offers may be called, but no loop over tokens: operators do not grow with their number. A
loop over experts is fine. Training and evaluation are the same: no noise, no dropout. No argument is modified.
Results have the dtype of the input (indices int64). Softmax, weights and means are computed in float32 at least, and in
float64 for float64. Which of several equal probabilities is chosen is up to you.

Stage 1: routing.  Stage 2: dispatch and combine, experts without tokens, any leading dimensions, wrong arguments.
Stage 3: the balancing loss, masks, every floating dtype, gradients.  Stage 4: capacity, FLOPs, no loop over tokens.

Sources: Shazeer et al., "Outrageously Large Neural Networks" (2017); Lepikhin et al., "GShard" (2020), for capacity;
Fedus et al., "Switch Transformers" (2021), for the loss; Jiang et al., "Mixtral of Experts" (2024).
"""

import math

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn


def route(
    logits: Float[Tensor, "tokens experts"], k: int, *, renormalize: bool = True
) -> tuple[Float[Tensor, "tokens k"], Int64[Tensor, "tokens k"]]:
    """The weights of each token's k experts, and which experts they are; the largest weight first.

    The softmax is over all experts. With renormalize, the k weights of a token are divided by their sum.
    Raises ValueError if k is not in [1, experts].
    """
    raise NotImplementedError("moe_layer.route: write me")


class MoELayer(nn.Module):
    """A gate, and experts of which each token uses k.

    Submodules: gate, an nn.Linear(dim, number of experts) without bias, and experts, an nn.ModuleList of the modules that
    are passed in. The state_dict holds nothing else.
    """

    def __init__(
        self,
        dim: int,
        experts: list[nn.Module],
        k: int,
        *,
        renormalize: bool = True,
        capacity_factor: float | None = None,
    ) -> None:
        """Each expert maps [n, dim] to [n, dim], each row by itself. The gate's initial weights are nn.Linear's own.

        Raises ValueError if k is not in [1, number of experts], so also without experts, or if capacity_factor is not
        above 0 (NaN included).
        """
        super().__init__()
        raise NotImplementedError("moe_layer.MoELayer.__init__: write me")

    def forward(self, x: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch dim"]:
        """The weighted sum of the answers of each token's experts. `*batch` is any number of dimensions, also none.

        Each expert is called at most once, with [n, dim]: exactly the tokens that are routed to it, in any order. An
        expert without tokens need not be called. The layer itself makes no tensor of more than k * tokens * dim elements,
        as long as there are no more experts than dim.

        With a capacity_factor, all tokens of x together share the places: expert_capacity at each expert, handed out by
        within_capacity in the order of x.reshape(-1, dim). An assignment without a place adds 0 and is not computed; the
        token's other weights stay as they are.
        """
        raise NotImplementedError("moe_layer.MoELayer.forward: write me")


def load_balancing_loss(
    logits: Float[Tensor, "tokens experts"],
    chosen: Int64[Tensor, "tokens k"],
    *,
    mask: Bool[Tensor, "tokens"] | None = None,
) -> Float[Tensor, ""]:
    """experts * sum_i f_i P_i, a 0-d tensor: 1 if all logits are equal, and up to `experts` if one expert gets everything.

    f is counted from `chosen`, whatever the logits are, and carries no gradient. Tokens whose mask is False (padding)
    count neither in f nor in P; their finite logits have no influence. If no token counts, the loss is 0 and so is its
    gradient. Raises ValueError if chosen holds a number outside [0, experts).
    """
    raise NotImplementedError("moe_layer.load_balancing_loss: write me")


def expert_capacity(tokens: int, experts: int, k: int, factor: float) -> int:
    """The number of places at each expert: factor * tokens * k / experts, in floats and in this order,
    rounded up to an integer.

    A factor of 1 is just enough for tokens that are spread evenly. Raises ValueError if k is not in [1, experts], or if
    factor is not above 0 (NaN included).
    """
    raise NotImplementedError("moe_layer.expert_capacity: write me")


def within_capacity(chosen: Int64[Tensor, "tokens k"], experts: int, capacity: int) -> Bool[Tensor, "tokens k"]:
    """Which assignments find a place, where each expert has `capacity` places in all.

    The first choices of all tokens take places before any second choice, and so on. Among equal choices, tokens take
    them in their order. The experts of one token differ.
    Raises ValueError if chosen holds a number outside [0, experts), or if capacity is below 0.
    """
    raise NotImplementedError("moe_layer.within_capacity: write me")
