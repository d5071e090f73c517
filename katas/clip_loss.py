"""CLIP's contrastive loss.

How do you train an image encoder and a text encoder so that a picture lies next to its caption? Write the loss that
CLIP minimises for a batch of pairs.

With u_i, v_j the image and text features scaled to length 1, and s the logit scale, the logits are
    l_ij = s u_i . v_j
Row i is a classification: which of the texts belongs to image i? Column j asks for the image of text j. The answer is
the diagonal, and the loss is the mean of both cross-entropies:
    loss = 1/2 (mean_i -log softmax_j(l_i.)_i + mean_j -log softmax_i(l_.j)_j)

Rules: everything that torch offers may be called. The logit scale is the factor s itself (CLIP learns its logarithm;
exp has been taken already, and nothing is clamped). No argument is modified.

Stage 1: the loss, both directions.  Stage 2: any batch and width, limits, wrong arguments.  Stage 3: large scales,
dtypes, gradients to both encoders and to the scale.  Stage 4: one product of the two feature matrices serves both
directions, and the number of operators does not grow with the batch.

Source: Radford et al., "Learning Transferable Visual Models From Natural Language Supervision" (2021), figure 3.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F


def clip_loss(
    image_features: Float[Tensor, "batch dim"],
    text_features: Float[Tensor, "batch dim"],
    logit_scale: float | Float[Tensor, ""],
) -> Float[Tensor, ""]:
    """The symmetric contrastive loss of `batch` pairs, a 0-d tensor in the features' dtype.

    Row i of both belongs together; every other row of the batch is a negative. The features come as the encoders give
    them: their lengths, from 0.01 to 100, do not matter in any floating dtype. The mean is over the batch and over both
    directions, so that one pair alone has loss 0. `logit_scale` multiplies the cosines; it is a number or a 0-d tensor,
    and differentiable like the features.

    Raises ValueError unless both features have the same shape [batch, dim].
    """
    raise NotImplementedError("clip_loss.clip_loss: write me")
