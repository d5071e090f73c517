"""Stage 1. Forward and loss."""

import pytest
import torch
from torch.nn import functional as F

from dojo.testing import expect_close, expect_equal, expect_unchanged, randn

from .helpers import (
    DIM,
    VOCAB,
    Spy,
    built,
    logits_of,
    random_model,
    stream_after_attention,
    texts,
    watched_block,
    with_spies,
)


def test_the_parameters_have_the_names_and_shapes_of_the_docstring():
    """A plain list would hide the blocks from parameters() and from state_dict()."""
    for sizes in ({}, {"vocab": 11, "max_length": 3, "layers": 2, "dim": 4}):
        built(**sizes)


def test_every_block_has_weights_of_its_own():
    """`[Block()] * layers` is one block, several times."""
    different = len({id(parameter) for parameter in built(layers=3).blocks.parameters()})
    hint = "build a new Block for each layer; [Block()] * layers repeats one"
    expect_equal(different, 36, what="the number of different parameters in three blocks", hint=hint)


def test_there_are_logits_for_every_place(rng):
    """[batch, n, vocab]: each place has a prediction of its own, and training uses all of them."""
    for batch, n in ((2, 5), (5, 2), (1, 6)):
        model, tokens = random_model(rng), texts(rng, batch, n)
        with expect_unchanged(tokens, what="tokens"):
            logits = logits_of(model, tokens)
        expect_equal(logits.dtype, torch.float64, what="the dtype of the logits of a float64 model")


def test_the_first_block_reads_the_token_plus_its_position(rng):
    """Attention does not know the order of its keys: without positions a text is a bag of words."""
    for batch, n in ((2, 5), (3, 3)):
        model, tokens = with_spies(random_model(rng)), texts(rng, batch, n)
        logits_of(model, tokens)
        inputs = model.blocks[0].inputs
        expect_equal(len(inputs), 1, what="how often a forward pass calls the first block", hint="once")
        what, hint = (
            "what the first block reads",
            "token(tokens) + position(arange(n)), the same positions for each row",
        )
        rows = []
        for row in tokens.tolist():
            rows.append(torch.stack([model.token.weight[t] + model.position.weight[i] for i, t in enumerate(row)]))
        expect_close(inputs[0], torch.stack(rows), what=what, hint=hint)


def test_the_blocks_run_once_each_in_their_order(rng):
    """Each reads what the one before it gave. The spies in their places are affine maps, which do not commute."""
    spies = [Spy(2.0, 1.0), Spy(-1.0, 0.5), Spy(0.5, -3.0)]
    model = with_spies(random_model(rng, layers=3), *spies)
    logits_of(model, texts(rng))
    for i, spy in enumerate(spies):
        expect_equal(len(spy.inputs), 1, what=f"how often a forward pass calls block {i}", hint="once each, in order")
    for i, before in enumerate(spies[:-1]):
        want = before.factor * before.inputs[0] + before.shift
        hint = "x = block(x): no addition around it, a Block adds to the stream by itself"
        expect_close(spies[i + 1].inputs[0], want, what=f"what block {i + 1} reads", hint=hint)


def test_the_logits_are_those_of_the_head_after_the_norm(rng):
    """In a pre-norm model the stream is normalised by nothing but the last norm; without it logits grow with depth."""
    last = Spy(0.5, -3.0)
    model = with_spies(random_model(rng, layers=2), Spy(), last)
    logits = logits_of(model, texts(rng))
    stream = last.factor * last.inputs[0] + last.shift
    normed = F.layer_norm(stream, (DIM,), model.norm.weight, model.norm.bias)
    expect_close(logits, normed @ model.head.weight.T, what="the logits", hint="head(norm(x)), and nothing after it")


def test_no_logit_depends_on_a_later_token(rng):
    """If it did, the loss would ask for what the model has just read. Each changes with the tokens up to its own."""
    model, tokens = random_model(rng, layers=2), texts(rng, 1, 6)
    before = logits_of(model, tokens)[0]
    for t in range(6):
        changed = tokens.clone()
        changed[0, t] = (changed[0, t] + 1) % VOCAB
        moved = ((logits_of(model, changed)[0] - before).abs() > 1e-9).any(-1).tolist()
        want = [False] * t + [True] * (6 - t)
        what = f"which logits change with token {t}"
        expect_equal(moved, want, what=what, hint="place i sees the tokens 0 to i: what is later is hidden")


def test_a_score_is_divided_by_the_root_of_the_width_of_a_head(rng):
    """And each head keeps to its own block of features. The last token sees all others, whatever a mask hides."""
    attention, x = random_model(rng).blocks[0].attention, randn(rng, 2, 4, DIM)
    q, k, v = (part.unflatten(-1, (2, -1)).transpose(1, 2) for part in attention.qkv(x).chunk(3, -1))
    wanted = F.scaled_dot_product_attention(q[:, :, -1:], k, v).transpose(1, 2).flatten(-2)
    what = "attention's answer at the last token"
    hint = "scores are q k^T / sqrt(dim / heads), their softmax is over the keys, and heads lie side by side"
    expect_close(attention(x)[:, -1:], attention.out(wanted), what=what, hint=hint)


def test_attention_reads_the_normed_stream(rng):
    """Pre-norm: each branch reads its own norm of the stream."""
    block, seen = watched_block(rng)
    want = block.norm1(seen["block reads"])
    expect_close(seen["attention reads"], want, what="what attention reads", hint="attention(norm1(x))")


def test_attention_adds_to_the_stream(rng):
    """Without the residual the stream is lost at the first block, and gradients vanish with depth."""
    _, seen = watched_block(rng)
    want = seen["block reads"] + seen["attention gives"]
    hint = "x + attention(norm1(x)): the stream itself, not its norm"
    expect_close(seen["norm2 reads"], want, what="what norm2 reads", hint=hint)


def test_the_mlp_reads_the_normed_stream(rng):
    """After attention has added to it."""
    block, seen = watched_block(rng)
    want = block.norm2(stream_after_attention(seen))
    expect_close(seen["mlp reads"], want, what="what the mlp reads", hint="mlp(norm2(x))")


def test_the_mlp_adds_to_the_stream(rng):
    """Like attention."""
    _, seen = watched_block(rng)
    want = stream_after_attention(seen) + seen["mlp gives"]
    hint = "x + mlp(norm2(x)): the stream itself, not its norm"
    expect_close(seen["block gives"], want, what="what the block gives", hint=hint)


def test_the_mlp_is_not_linear(rng):
    """Two linear layers in a row are one."""
    mlp, x = random_model(rng).blocks[0].mlp, randn(rng, 5, DIM)
    want = mlp.down(F.gelu(mlp.up(x)))
    expect_close(mlp(x), want, what="what the mlp gives", hint="a GELU between up and down")


def test_the_logits_at_t_are_for_token_t_plus_1(rng):
    """The prediction at place t has read token t; asked for the same token, it learns to copy, and the loss falls to 0."""
    model, tokens = random_model(rng), torch.tensor([[4, 0, 5, 2]])
    log_probs = logits_of(model, tokens)[0].log_softmax(-1)
    want = -(log_probs[0, 0] + log_probs[1, 5] + log_probs[2, 2]) / 3
    hint = "the last place has no target, the first token is none: logits[:, :-1] for tokens[:, 1:]; a mean over n - 1"
    expect_close(model.loss(tokens), want, what="the loss of the text 4 0 5 2", hint=hint)


def test_a_text_of_two_tokens_has_one_target(rng):
    """The second token, asked of the first place."""
    model, tokens = random_model(rng), torch.tensor([[3, 6]])
    want = -logits_of(model, tokens)[0, 0].log_softmax(-1)[6]
    expect_close(model.loss(tokens), want, what="the loss of the text 3 6", hint="-log softmax(logits_0)[token_1]")


@pytest.mark.parametrize("batch", [2, 5])
def test_the_loss_of_a_batch_is_the_mean_of_its_rows(rng, batch):
    """Flattened before the shift, the last token of a row is followed by the first one of the next."""
    model, tokens = random_model(rng), texts(rng, batch)
    want = torch.stack([torch.as_tensor(model.loss(row[None])) for row in tokens]).mean()
    hint = "shift first, then flatten: rows have nothing to do with each other"
    with expect_unchanged(tokens, what="tokens"):
        expect_close(model.loss(tokens), want, what=f"the loss of {batch} texts of 5 tokens", hint=hint)
