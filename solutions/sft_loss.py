"""Labels, loss and packing for supervised fine-tuning.

Fine-tune on conversations: which tokens does the loss count? Write the labels, the shifted loss that survives gradient
accumulation, and the packing of several examples into one row, with what a model needs so that none sees another.

Conventions: labels are aligned with tokens, so labels[:, j] is tokens[:, j], or -100 where the token does not count. The
loss shifts: the logits at position i predict token i + 1. A token counts if it is attended and belongs to the answer.
Which tokens are padding is known from the attention mask alone, never from a token's number: the padding token is often
EOS, and the EOS that ends an answer has to be learned.

Numbers: the loss is float64 for float64 logits and float32 for all narrower ones, and everything is computed in that
dtype: widen before the first operation. Labels, tokens, positions and segments are int64. No argument is modified, and
no result shares memory with one. Results are on the device of the tensors that they are made from.

Stage 1: labels of one example, the loss, one packed row.  Stage 2: prompts and padding in batches, EOS as padding,
nothing to learn, num_items, several rows, wrong arguments.  Stage 3: logits up to +-1e4, banned tokens, every floating
dtype, gradients.  Stage 4: gradient accumulation, few passes over the logits, no loop over tokens.

Sources: Krell et al., "Efficient Sequence Packing without Cross-contamination" (2021), for packing; the documentation of
torch.nn.CrossEntropyLoss, whose ignore_index is -100 by default.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn import functional as F

IGNORED = -100  # the label of a token that does not count


def build_labels(
    tokens: Int64[Tensor, "batch length"],
    attention_mask: Bool[Tensor, "batch length"],
    prompt_lengths: Int64[Tensor, "batch"],
) -> Int64[Tensor, "batch length"]:
    """The tokens of the answers, and -100 everywhere else: at the prompt and at padding.

    attention_mask is False at padding, which stands before a row's tokens, after them, or on both sides; the attended
    tokens stand side by side. A row may be padding throughout. What stands under a False is any number. The prompt of
    row i is its first prompt_lengths[i] attended tokens; everything attended after it is the answer. A prompt may be
    empty, and an answer too.

    Raises ValueError if the shapes are not as above, if a prompt length is negative, or if it is larger than the number
    of attended tokens in its row.
    """
    # kata: begin
    if attention_mask.shape != tokens.shape or prompt_lengths.shape != tokens.shape[:1]:
        shapes = [[*given.shape] for given in (tokens, attention_mask, prompt_lengths)]
        raise ValueError("tokens {}, attention mask {} and prompt lengths {} do not match".format(*shapes))
    number = attention_mask.cumsum(1)  # 1 at the first attended token, whatever padding stands before it
    if (prompt_lengths < 0).any() or (prompt_lengths > attention_mask.sum(1)).any():
        raise ValueError(f"a prompt is not in its row: {prompt_lengths.tolist()} of {attention_mask.sum(1).tolist()}")
    return tokens.where(attention_mask & (number > prompt_lengths[:, None]), IGNORED)
    # kata: end


def causal_lm_loss(
    logits: Float[Tensor, "batch length vocab"],
    labels: Int64[Tensor, "batch length"],
    *,
    num_items: int | Int64[Tensor, ""] | None = None,
) -> Float[Tensor, ""]:
    """The cross-entropy of the labels that count: their sum, divided by their number or by num_items.

    logits[:, i] predicts labels[:, i + 1]. A label of -100 does not count; every other one is in [0, vocab). Label 0 of a
    row never counts, whatever it is, because nothing predicts it. Logits whose next label does not count have no influence,
    and their gradient is 0.

    num_items, an int or a scalar tensor, is the divisor in place of the number of labels that count. With gradient
    accumulation it is that number for the whole step, so that the losses of the micro-batches add up to the loss of one
    large batch. If no label counts, the loss is 0.0, with a graph and gradients of 0, whatever num_items is. num_items
    may be 0 in that case alone.

    A logit of -inf is a banned token. It is not a label that counts, and no position has only those. No logit is +inf
    or NaN.

    For float32 logits it reads and writes at most 8 times as many numbers as there are logits: a one-hot matrix costs
    too much. The number of operators does not grow with the length (a loop over the rows of the batch is allowed).
    Raises ValueError if labels do not have the shape [batch, length] of the logits, or if num_items is an int and
    negative (a tensor is not checked, because to read it is to wait for its device).
    """
    # kata: begin
    if labels.shape != logits.shape[:-1]:
        raise ValueError(f"logits {[*logits.shape]} and labels {[*labels.shape]} do not match")
    if isinstance(num_items, int) and num_items < 0:
        raise ValueError(f"num_items must not be negative, got {num_items}")
    # The labels move, not the logits, of which a slice would be copied. Nothing follows the last position.
    targets = F.pad(labels[:, 1:], (0, 1), value=IGNORED)
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    total = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED, reduction="sum")
    count = (targets != IGNORED).sum() if num_items is None else torch.as_tensor(num_items)
    return total / count.clamp(min=1)  # 0 / 1 where nothing counts
    # kata: end


class Packed(NamedTuple):
    """A row of examples that stand one after the other. All tensors have the row's length."""

    tokens: Int64[Tensor, "length"]
    labels: Int64[Tensor, "length"]  # -100 at the first token of each example
    positions: Int64[Tensor, "length"]  # 0, 1, ... in each example
    segments: Int64[Tensor, "length"]  # the number of the example in its row, from 0


# kata: begin
def _join(tokens: list[Tensor], labels: list[Tensor]) -> Packed:
    """The row of these examples."""
    lengths = [len(example) for example in tokens]
    device = tokens[0].device
    return Packed(
        torch.cat(tokens),
        # The token before an example's first one belongs to another example, which must not learn to predict it.
        torch.cat([F.pad(example[1:], (1, 0), value=IGNORED) for example in labels]),
        torch.cat([torch.arange(n, device=device) for n in lengths]),
        torch.arange(len(lengths), device=device).repeat_interleave(torch.tensor(lengths, device=device)),
    )


# kata: end


def pack(tokens: list[Int64[Tensor, "n"]], labels: list[Int64[Tensor, "n"]], max_length: int) -> list[Packed]:
    """Rows of whole examples, each of at most max_length tokens, without padding.

    tokens[k] and labels[k] are those of example k. Examples keep their order. Each goes into the newest row if it fits
    there, and opens a new row if it does not; older rows are closed (next fit). No example is cut. Best fit, which sorts
    by length, and packings that cut are other algorithms.

    Positions begin anew in each example, at 0, and segments in each row, at 0: with them a model can keep the examples
    apart, so that each gets the logits that it gets alone. The first label of each example becomes -100; the others are
    as they were given.

    No examples give no rows. The number of operators does not grow with the lengths of the examples.
    Raises ValueError if an example is longer than max_length or has no token, or if tokens and labels differ in number or
    in the length of an example.
    """
    # kata: begin
    lengths = [len(example) for example in tokens]
    if lengths != [len(example) for example in labels]:
        raise ValueError("each example needs a label for each of its tokens")
    if any(not 1 <= n <= max_length for n in lengths):
        raise ValueError(f"an example must have 1 to {max_length} tokens, got {lengths}")
    rows: list[list[int]] = []
    room = 0
    for k, n in enumerate(lengths):
        if n > room:
            rows.append([])
            room = max_length
        rows[-1].append(k)
        room -= n
    return [_join([tokens[k] for k in row], [labels[k] for k in row]) for row in rows]
    # kata: end
