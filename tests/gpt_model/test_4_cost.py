"""Stage 4. What forward, loss and generate cost."""

import torch

from dojo.testing import expect, expect_flat_operators, randint
from katas.gpt_model import generate

from .helpers import built

VOCAB, LENGTH, LAYERS, HEADS, DIM, BATCH = 200, 64, 2, 4, 32, 2


def model_at_scale():
    return built(vocab=VOCAB, max_length=LENGTH, layers=LAYERS, heads=HEADS, dim=DIM).eval()


def body(n):
    """FLOPs of the blocks for a text of n tokens: 12 dim^2 weights in each, and two products of n x n x dim."""
    return LAYERS * (2 * 12 * DIM**2 * n + 4 * n**2 * DIM)


def head(n):
    return 2 * VOCAB * DIM * n


def expect_flops(spent, flops, *, what, hint, least=0.99):
    sentence = f"torch operators should do the work of {what}, but only {spent.flops / flops:.2f}x its FLOPs were seen"
    expect(spent.flops >= least * flops, sentence, hint="compute with torch's matrix products")
    sentence = f"{what} should cost {flops:.4g} FLOPs, but cost {spent.flops / flops:.2f}x that"
    expect(spent.flops <= 1.02 * flops, sentence, hint=hint)


def test_a_forward_pass_costs_its_matrices_and_attention(rng, cost):
    """2 FLOPs for each weight and token, the head's counted, the look-ups not; a one-hot product would be a second head."""
    model, tokens = model_at_scale(), randint(rng, 0, VOCAB, BATCH, LENGTH)
    with torch.no_grad(), cost() as spent:
        model(tokens)
    hint = "look embeddings up, and run every part once"
    expect_flops(spent, BATCH * (body(LENGTH) + head(LENGTH)), what="a forward pass", hint=hint)


def test_the_loss_costs_one_forward_pass(rng, cost):
    """All places are trained at once: a loop over prefixes would cost n / 2 of them. (The last place may be left out.)"""
    model, tokens = model_at_scale(), randint(rng, 0, VOCAB, BATCH, LENGTH)
    for mask in (None, torch.ones(BATCH, LENGTH).bool()):
        with torch.no_grad(), cost() as spent:
            model.loss(tokens, mask)
        flops = BATCH * (body(LENGTH) + head(LENGTH))
        expect_flops(spent, flops, what="the loss", hint="one forward pass gives all predictions", least=0.95)


def test_the_head_reads_the_last_place_alone_in_generate(rng, cost):
    """One pass of the blocks for each token, over the text so far. The head of GPT-2 small is 31 % of its weights."""
    model, tokens = model_at_scale(), randint(rng, 0, VOCAB, BATCH, 20)
    with cost() as spent:
        generate(model, tokens, 4)
    flops = BATCH * sum(body(n) + head(1) for n in range(20, 24))
    hint = "give the head the last place of what the last norm gives"
    expect_flops(spent, flops, what="generating four tokens after 20", hint=hint)


def test_operators_grow_neither_with_the_batch_nor_with_the_length(rng):
    """A loop over rows or places launches kernels one by one."""
    model = model_at_scale()
    for name, sizes in (("rows", [(2, 8), (16, 8)]), ("tokens", [(2, 8), (2, 64)])):
        expect_flat_operators(
            lambda tokens, mask: model.loss(tokens, mask),
            lambda size: (randint(rng, 0, VOCAB, *size), torch.ones(size).bool()),
            sizes,
            what=f"the loss of more {name}, as (batch, n),",
            hint="index with slices: logits[:, :-1], tokens[:, 1:]",
        )
