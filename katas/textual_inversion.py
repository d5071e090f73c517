"""Textual inversion, and the prior-preservation loss of DreamBooth.

Five pictures of your cat, a frozen text-to-image model, and one new word for it. The word is a row of the text
encoder's embedding table, and that row is all that trains. The published script damaged every other word at the same
time. Write the embedding that cannot, under any optimizer, and the loss that keeps a model's idea of cats in general.

The new words have the ids after the old ones: with V rows in the pretrained table,
    id < V  ->  base(id),          V <= id < V + count  ->  new[id - V].
The loss is for a batch of which the first half shows the instance (your cat) and the second half the class (cats that
the model drew before training):
    loss = mean((prediction - target)^2 over the instance half) + prior_weight x mean((...)^2 over the class half).

Rules: everything that torch offers may be called. No argument is modified, but that the base is frozen.

Stage 1: both lookups, the start, what trains, the merged table, the loss.  Stage 2: any shape of ids, rows that hold
NaN, options of the base, weights, wrong arguments.  Stage 3: training under AdamW and SGD, dtypes, gradients, large
errors.  Stage 4: with 4096 rows and 16 ids, forward and backward together move fewer bytes than a quarter of the table;
the optimizer keeps its state for the new rows alone; neither the lookup nor the loss has a loop over ids or samples.

Sources: Gal et al., "An Image is Worth One Word: Personalizing Text-to-Image Generation using Textual Inversion"
(2022); Ruiz et al., "DreamBooth: Fine Tuning Text-to-Image Diffusion Models for Subject-Driven Generation" (2022).
"""

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F


class LearnedTokens(nn.Module):
    """`base` with `count` rows more, and nothing but these rows trains.

    `base` is the embedding that was given, not a copy: its weight stays the same Parameter with the same values, in the
    same memory, but no longer requires a gradient, and its options stay as they are. After any number of steps of any
    optimizer over the parameters that require a gradient, weight decay and momentum included, it is equal to the last
    bit. The only other parameter is `new` [count, dim], with the dtype and device of the base's weight. It requires a
    gradient, also where the base was frozen before. The state dict holds base.weight and new, and nothing else.
    """

    def __init__(self, base: nn.Embedding, count: int, init_id: int) -> None:
        """Wraps `base`. Each new row starts equal to row `init_id` of it, and shares memory with no other row.

        Raises ValueError if count < 1, if init_id lies outside [0, V) (negative ids do not count from the end), or if
        the base has a max_norm: its lookups overwrite the rows that they read.
        """
        raise NotImplementedError("textual_inversion.LearnedTokens.__init__: write me")

    def forward(self, ids: Int64[Tensor, "*batch"]) -> Float[Tensor, "*batch dim"]:
        """The rows of `ids`, old and new in any mixture, of any shape (also a single id, or none), in the base's dtype.

        For old ids the result is equal to base(ids) to the last bit. Tables count as they are at the call. What stands
        in rows that are not looked up, NaN included, reaches neither the result nor a gradient.

        The gradient of a new row is dense, and the sum of the result's gradient over the places of its id, whatever
        options the base has; the gradient at other places, NaN included, does not reach it. The result has a graph
        also if no id is new, so that a training loop needs no special case.

        Raises ValueError if an id lies outside [0, V + count), on the CPU only: elsewhere a look at the ids would wait
        for the device, and they are not checked.
        """
        raise NotImplementedError("textual_inversion.LearnedTokens.forward: write me")

    def merged(self) -> nn.Embedding:
        """An nn.Embedding of V + count rows, old ones first, that answers as this module does now, to the last bit.

        It shares no memory with this module and leaves it as it is, so that neither's later training changes the
        other. Its weight is a leaf of the base's dtype and device; whether it requires a gradient is free. It has the
        base's padding_idx, scale_grad_by_freq and sparse. A padding row keeps its values, whatever they are.
        """
        raise NotImplementedError("textual_inversion.LearnedTokens.merged: write me")


def prior_preservation_loss(
    prediction: Float[Tensor, "two_n *rest"],
    target: Float[Tensor, "two_n *rest"],
    *,
    prior_weight: float = 1.0,
    weights: Float[Tensor, "two_n"] | None = None,
) -> Float[Tensor, ""]:
    """The mean squared error of the instance half, plus `prior_weight` times that of the class half.

    The first n samples are the instance half, the last n the class half, and each mean is over the elements of its own
    half. `weights` has one number for each sample of the batch, which multiplies that sample's squared errors before
    the mean; the mean still divides by the number of elements, not by the sum of the weights.

    A sample may also be a single number (shape [2n]). The two tensors, and the weights, may differ in dtype. The loss is
    computed and returned in float32, or in float64 where the prediction has it.

    Raises ValueError if the shapes of prediction and target differ, if the number of samples is odd or 0 or there is no
    batch dimension, if weights is not of shape [2n], or if prior_weight is negative or NaN.
    """
    raise NotImplementedError("textual_inversion.prior_preservation_loss: write me")
