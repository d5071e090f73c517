"""Stage 1. Prefill and decoding, texts of equal length."""

import math

import pytest
import torch
from torch.nn import functional as F

from dojo.testing import expect_close, expect_equal, expect_unchanged
from katas.kv_cache import KVCache, cached_forward, generate

from .helpers import (
    SPLITS,
    alone,
    cache_for,
    expect_lengths,
    expect_logits,
    feed,
    greedy,
    new_decoder,
    qkv,
    step,
    texts_of,
)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_an_empty_cache_has_its_whole_capacity(dtype):
    """Keys and values of 3 layers, 2 rows, 4 heads, 5 places of 8 numbers: what a server has to reserve."""
    cache = KVCache(3, 2, 4, 5, 8, dtype=dtype)
    expect_lengths(cache, [0, 0], when="of an empty cache")
    expect_equal(
        getattr(cache, "nbytes", None),
        2 * 3 * 2 * 4 * 5 * 8 * dtype.itemsize,
        what=f"nbytes of KVCache(3, 2, 4, 5, 8) in {dtype}",
        hint="2 for keys and values, and all of it is there from the beginning",
    )
    lengths = getattr(KVCache(3, 2, 4, 5, 8, dtype=dtype, device="meta"), "lengths", None)
    where = getattr(lengths, "device", None)
    expect_equal(str(where), "meta", what='the device of lengths for device="meta"', hint="pass device on")


def test_a_worked_example():
    """head_dim 1. The first token sees itself: 10. The second has logits 0 and ln 3, so 10 / 4 + 3 x 20 / 4 = 17.5."""
    cache, one = KVCache(1, 1, 1, 4, 1, dtype=torch.float64), torch.tensor([1])
    for number, (key, value, answer) in enumerate(((0.0, 10.0, 10.0), (math.log(3), 20.0, 17.5))):
        q, k, v = (torch.full((1, 1, 1, 1), size).double() for size in (1.0, key, value))
        hint = "softmax over the stored tokens and the new one, itself included"
        got = step(cache, q, k, v, one)
        expect_close(got, torch.full_like(v, answer), what=f"the answer to token {number}", hint=hint)
        cache.advance(one)


def test_lengths_change_at_the_end_of_a_step(rng):
    """Every layer of a step writes to the same places, so only advance, once per step, moves them on."""
    cache, counts = KVCache(2, 2, 2, 5, 4, dtype=torch.float64), torch.tensor([2, 2])
    for layer in range(2):
        step(cache, *qkv(rng, 2, 2), counts, layer=layer)
        hint = "neither write nor attend moves the lengths"
        expect_lengths(cache, [0, 0], when=f"after write and attend in layer {layer}", hint=hint)
    cache.advance(counts)
    expect_lengths(cache, [2, 2], when="after advance(2)")
    cache.advance(torch.tensor([1, 1]))
    expect_lengths(cache, [3, 3], when="after advance(2) and advance(1)")


@pytest.mark.parametrize("split", SPLITS, ids=str)
def test_any_split_is_causal_attention_over_the_whole(rng, split):
    """A query sees all that is stored and, in a chunk of several tokens, none of those behind it. An upper-left causal mask
    (is_causal=True with fewer queries than keys) shows a single query nothing but token 0."""
    cache, (q, k, v) = KVCache(1, 2, 2, 8, 4, dtype=torch.float64), qkv(rng, 2, 6)
    want, start = F.scaled_dot_product_attention(q, k, v, is_causal=True), 0
    for count in split:
        new, counts = slice(start, start + count), torch.tensor([count, count])
        with expect_unchanged(q, k, v, counts, what="an argument"):
            got = step(cache, q[:, :, new], k[:, :, new], v[:, :, new], counts)
        what = f"the answers to tokens {start} to {start + count - 1} in the split {split}"
        hint = "query i stands at lengths + i and sees the places up to its own: build the mask from positions"
        expect_close(got, want[:, :, new], what=what, hint=hint)
        cache.advance(counts)
        start += count


def test_each_layer_has_its_own_memory(rng):
    """Layer 1's tokens are other vectors than layer 0's."""
    cache, counts = KVCache(2, 1, 2, 4, 4, dtype=torch.float64), torch.tensor([3])
    q, k, v = qkv(rng, 1, 3)
    cache.write(0, k, v, counts)
    cache.write(1, *qkv(rng, 1, 3)[1:], counts)
    want = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    hint = "keys and values of one layer are nothing to another"
    expect_close(cache.attend(0, q, counts), want, what="layer 0 after layer 1 was written", hint=hint)


def test_what_was_given_is_stored_as_it_was(rng):
    """The cache holds copies: decoders reuse their buffers."""
    cache, counts = KVCache(1, 1, 2, 4, 4, dtype=torch.float64), torch.tensor([3])
    q, k, v = qkv(rng, 1, 3)
    want = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    cache.write(0, k, v, counts)
    k.zero_()
    v.zero_()
    expect_close(cache.attend(0, q, counts), want, what="the answers after the caller has reused k and v", hint="copy")


@pytest.mark.parametrize("split", SPLITS, ids=str)
def test_cached_logits_equal_those_without_a_cache(rng, split):
    """The proof that was asked for. Positions go on where the last call stopped: starting at 0 again is the usual bug."""
    decoder = new_decoder(rng)
    cache, texts = cache_for(decoder, 2), texts_of(rng, 6, 6)
    wanted, start = [alone(decoder, text) for text in texts], 0
    for count in split:
        rows = feed(decoder, cache, [text[start : start + count] for text in texts])
        hint = "token t has position t, whatever call brings it; write, then attend, with the same counts"
        end = start + count
        want = [logits[start:end] for logits in wanted]
        expect_logits(rows, want, note=f"for tokens {start} to {end - 1} in the split {split}", hint=hint)
        expect_lengths(cache, [end, end], when=f"after {end} tokens", hint="advance once, after the last layer")
        start = end


def test_cached_forward_modifies_no_argument(rng):
    """The caller's tokens and counts are needed again."""
    decoder, tokens, counts = new_decoder(rng), torch.tensor([[1, 2, 3]]), torch.tensor([3])
    cache = cache_for(decoder, 1)
    with expect_unchanged(tokens, counts, what="an argument"):
        for _ in range(2):
            cached_forward(decoder, tokens, counts, cache)


def test_caches_share_nothing(rng):
    """Two conversations at once: an attribute of the class, or a default argument, would mix them."""
    decoder, (one, other) = new_decoder(rng), texts_of(rng, 4, 4)
    caches = cache_for(decoder, 1), cache_for(decoder, 1)
    for start in (0, 2):
        for cache, text in zip(caches, (one, other), strict=True):
            rows = feed(decoder, cache, [text[start : start + 2]])
            want = [alone(decoder, text)[start : start + 2]]
            expect_logits(rows, want, note="beside another cache", hint="every KVCache has tensors of its own")


@pytest.mark.parametrize("prompts", [1, 3], ids=["one prompt", "three prompts"])
def test_generate_is_greedy_decoding(rng, prompts):
    """Only the new tokens; twice, because the second call must not remember the first."""
    decoder = new_decoder(rng)
    for call in ("first", "second"):
        texts = texts_of(rng, *[4] * prompts)
        answers = generate(decoder, texts, 5)
        expect_equal(
            answers,
            greedy(decoder, texts, 5),
            what=f"the {call} call's answers to {texts}",
            hint="prefill all of the prompt, take the last logits' argmax, feed that one token, and so on",
        )
        kinds = {type(token) for answer in answers for token in answer}
        expect_equal(kinds, {int}, what="the types of the tokens", hint="plain numbers: use .tolist() or int()")


def test_generate_keeps_the_weights_precision(rng):
    """A cache in float32 under a float64 decoder: logits that differ by 1e-7, and one day another token."""
    decoder, (prompt,) = new_decoder(rng), texts_of(rng, 4)
    seen = []
    hook = decoder.register_forward_hook(lambda module, given, logits: seen.append(logits[0, -1].detach()))
    (answer,) = generate(decoder, [prompt], 5)
    hook.remove()
    want = alone(decoder, prompt + answer[:-1])[-len(answer) :]
    hint = "the cache has the dtype of the decoder's weights"
    expect_close(torch.stack(seen), want, what="the logits behind generate's tokens", hint=hint, rtol=1e-9, atol=1e-9)
