"""Stage 4. What a step costs."""

import pytest
import torch

from dojo.testing import expect, expect_equal, randn
from katas.kv_cache import KVCache, generate

from .helpers import greedy, new_decoder, texts_of

BATCH, HEADS, HEAD_DIM, STORED = 2, 2, 64, 1000
LAYER = BATCH * HEADS * STORED * HEAD_DIM * 4  # bytes of one layer's stored keys


def loaded(rng, max_length, lengths=(STORED, STORED)):
    """A cache that holds so many tokens in one layer, and the next token's q, k and v."""
    cache, counts = KVCache(1, BATCH, HEADS, max_length, HEAD_DIM), torch.tensor(lengths)
    memory = torch.ones(1, 1, 1, 1).expand(BATCH, HEADS, STORED, HEAD_DIM)
    cache.write(0, memory, memory, counts)
    cache.advance(counts)
    return cache, [randn(rng, BATCH, HEADS, 1, HEAD_DIM, dtype=torch.float32) for _ in range(3)]


@pytest.mark.parametrize("lengths", [(STORED, STORED), (STORED, 10)], ids=str)
def test_a_step_attends_to_what_is_stored_not_to_the_capacity(rng, cost, lengths):
    """4 x batch x heads x head_dim x (longest + 1) FLOPs, where the capacity has four times as many places."""
    cache, (q, k, v) = loaded(rng, 4 * STORED, lengths)
    counts = torch.tensor([1, 1])
    with cost() as spent:
        cache.write(0, k, v, counts)
        cache.attend(0, q, counts)
    least = sum(4 * HEADS * HEAD_DIM * (length + 1) for length in lengths)
    most = 1.05 * 4 * BATCH * HEADS * HEAD_DIM * (max(lengths) + 1)
    sentence = f"attend should take at least {least:.3g} FLOPs of matrix products, but {spent.flops:.3g} were seen"
    expect(spent.flops >= 0.95 * least, sentence, hint="compute with torch's matrix products or its attention")
    sentence = f"a step at {STORED} stored tokens should take at most {most:.3g} FLOPs, but took {spent.flops:.3g}"
    expect(spent.flops <= most, sentence, hint="slice the memory to the longest row before the products")


def test_a_step_copies_nothing_that_is_stored(rng, cost):
    """Writing one token allocates next to nothing. Appending with torch.cat copies the whole past at every step; so does a
    batched matrix product over heads that lie behind the tokens, in [batch, length, heads, dim]."""
    cache, (q, k, v) = loaded(rng, 4 * STORED)
    counts = torch.tensor([1, 1])
    with cost() as spent:
        cache.write(0, k, v, counts)
        cache.attend(0, q, counts)
        cache.advance(counts)
    common = ", ".join(f"{name} {count}" for name, count in spent.calls.most_common(4))
    share = spent.allocated / LAYER
    sentence = (
        f"a step should allocate less than 0.25 times a layer's stored keys, but allocated {share:.2f} ({common})"
    )
    hint = "write in place and read through views; torch.cat copies, and so does q @ k.mT where heads lie behind tokens"
    expect(share < 0.25, sentence, hint=hint)
    expect(spent.calls.total() > 0, "torch operators should do the work of a step, but none was seen")


def test_truncate_copies_nothing_that_is_stored(rng, cost):
    """Forgetting a tail is a change of the lengths: drafts are rejected at almost every step."""
    cache, _ = loaded(rng, 2 * STORED)
    with cost() as spent:
        cache.truncate(torch.tensor([STORED - 3, STORED - 2]))
    share = spent.bytes / LAYER
    sentence = f"truncate should move less than 0.25 times a layer's stored keys, but moved {share:.2f}"
    expect(share < 0.25, sentence, hint="only the lengths change; what lies beyond is never seen")


@pytest.mark.parametrize("eos", [False, True], ids=["no eos", "eos"])
def test_the_decoder_is_called_once_per_step_with_one_token(rng, eos):
    """A prefill of all prompts, then one token for each row. Nobody needs the logits behind a last token."""
    decoder, prompts = new_decoder(rng), texts_of(rng, 5) * 2 if eos else texts_of(rng, 5, 2)
    token = greedy(decoder, prompts[:1], 3)[0][2] if eos else None
    steps = max(map(len, greedy(decoder, prompts, 6, token)))
    widths = []
    hook = decoder.register_forward_hook(lambda module, given, logits: widths.append(logits.shape[1]))
    generate(decoder, prompts, 6, eos_token=token)
    hook.remove()
    hint = "stop when every row has ended" if eos else "each call feeds what the cache does not have yet: one token"
    what = f"the number of tokens in each call of the decoder, for {prompts} and {steps} new tokens"
    expect_equal(widths, [5] + [1] * (steps - 1), what=what, hint=hint)


def test_no_new_token_needs_no_decoder(rng):
    """max_new_tokens=0 asks for nothing."""
    decoder, calls = new_decoder(rng), []
    hook = decoder.register_forward_hook(lambda module, given, logits: calls.append(1))
    generate(decoder, texts_of(rng, 3), 0)
    hook.remove()
    expect_equal(len(calls), 0, what="the number of calls of the decoder for max_new_tokens=0")
