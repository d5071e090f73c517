"""How a language model is shown pictures: projector, placeholders, splice, labels.

How does LLaVA show a picture to a language model? Write the selection of the encoder's features, the projector, the
expansion of the image placeholders, the splice of features into the embeddings, and the labels.

The encoder makes a vector of vision_dim numbers for each patch; the projector makes a token of text_dim numbers of it,
as wide as a text token's embedding. A prompt has one placeholder for each picture, the id image_id. It is repeated until
there is one for each token of the picture. Then the embeddings at the placeholders are replaced by the tokens.

image_id is any integer: LLaVA's is -200, others are inside the vocabulary. Text ids are all others. Pictures may have
different numbers of tokens, rows different numbers of pictures, and two pictures may stand side by side.

Numbers: float16, bfloat16, float32 and float64, contiguous or not. All tensors are on one device, and so are the results.
No argument and no parameter is modified. Repeated calls give equal results.

Stage 1: the features of a layer, the projector, one picture.  Stage 2: several pictures of different sizes, several
rows, rows without a picture, wrong arguments.  Stage 3: gradients, dtypes, embeddings that are not numbers.  Stage 4:
few passes over the embeddings, no loop over tokens.

Sources: Liu et al., "Visual Instruction Tuning" (2023), and "Improved Baselines with Visual Instruction Tuning" (2023),
for the projector and the layer; Hendrycks and Gimpel, "Gaussian Error Linear Units" (2016).
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F

IGNORED = -100  # the label of a token that does not count


def select_features(
    hidden_states: Sequence[Float[Tensor, "images 1+patches vision_dim"]], layer: int = -2
) -> Float[Tensor, "images patches vision_dim"]:
    """The features of all patches after one layer of the encoder, without the class token, which comes first.

    hidden_states are those of a vision transformer: its embeddings, then the output of each layer. `layer` counts them as
    an index does: 0 is the embeddings, -1 the last layer's output, and -2, the default, that of the last layer but one.
    Differentiable. Raises ValueError if there is no such entry.
    """
    raise NotImplementedError("image_tokens.select_features: write me")


class Projector(nn.Module):
    """LLaVA's projector from features to text tokens: linear_1, GELU, linear_2.

    The parameters, all trainable:
        linear_1.weight  [text_dim, vision_dim]      linear_1.bias  [text_dim]
        linear_2.weight  [text_dim, text_dim]        linear_2.bias  [text_dim]
    GELU is the exact one, x times the normal distribution function of x, not its approximation by tanh. The values of the
    parameters at the start are yours, as long as all of them are finite.
    """

    def __init__(self, vision_dim: int, text_dim: int) -> None:
        raise NotImplementedError("image_tokens.Projector.__init__: write me")

    def forward(self, features: Float[Tensor, "*batch vision_dim"]) -> Float[Tensor, "*batch text_dim"]:
        """The token of each feature vector. They are independent of each other, and have any leading dimensions.

        Features have the dtype of the parameters, and the tokens have it too.
        """
        raise NotImplementedError("image_tokens.Projector.forward: write me")


def expand_placeholders(ids: list[int], image_id: int, sizes: Sequence[int]) -> list[int]:
    """The ids of a prompt in which the i-th placeholder has become sizes[i] placeholders. The others stay, in order.

    A new list. Raises ValueError if there are more or fewer sizes than placeholders, or if a size is below 1.
    """
    raise NotImplementedError("image_tokens.expand_placeholders: write me")


def splice(
    embeddings: Float[Tensor, "batch length dim"],
    ids: Int64[Tensor, "batch length"],
    features: Sequence[Float[Tensor, "tokens dim"]],
    images_per_row: Sequence[int],
    image_id: int,
) -> Float[Tensor, "batch length dim"]:
    """The embeddings, in which each placeholder's row is replaced by a token of a picture.

    features are the tokens of each picture: first the pictures of row 0, then those of row 1, and so on. Row i has
    images_per_row[i] of them, which may be 0. Its placeholders, from left to right, take the tokens of its first picture,
    then those of its second. There may be text between them, or not.

    Tokens are moved and not computed with. The result has the dtype of the embeddings. There, text is equal to its
    embedding bit for bit, and a placeholder is its token, rounded to that dtype if the features have another one. What
    the embeddings hold at placeholders has no influence, even if it is infinite or NaN. Differentiable in embeddings and
    in features: a gradient of 0 for the embeddings at placeholders.

    Raises ValueError
        if a row has not as many placeholders as its pictures have tokens, even if the whole batch has: one picture must
        not run on into the next row. The sentence has the number of the first such row, counted from 0, that of its
        placeholders and that of its pictures' tokens, each in digits;
        if ids do not have the shape [batch, length] of the embeddings;
        if images_per_row has not one number for each row, has a negative one, or does not add up to the number of pictures;
        if the tokens of a picture are not as wide as the embeddings.

    It reads and writes at most 10 times as many bytes as the embeddings have, if those and the features are float32. The
    number of operators does not grow with length or tokens (a loop over rows or over pictures is allowed).
    """
    raise NotImplementedError("image_tokens.splice: write me")


def image_labels(
    labels: Int64[Tensor, "batch length"], ids: Int64[Tensor, "batch length"], image_id: int
) -> Int64[Tensor, "batch length"]:
    """The labels, with -100 at placeholders, which a model need not learn to write. The others stay as they are.

    Labels are aligned with ids; the loss shifts them. The ids say where the placeholders are: the labels may hold any
    number there, and image_id anywhere else. The result is a new tensor. Raises ValueError if the shapes differ.
    """
    raise NotImplementedError("image_tokens.image_labels: write me")
