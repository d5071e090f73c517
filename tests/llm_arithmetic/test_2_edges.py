"""Stage 2. Grouped queries, tied weights, the KV cache, exact integers, wrong values."""

from dataclasses import replace

import pytest

from dojo.testing import expect_equal, expect_raises
from katas.llm_arithmetic import Decoder, forward_flops, kv_bytes, parameters

from .helpers import GROUPED, LLAMA_2_7B, LLAMA_2_70B, LLAMA_3_8B, SMALL, Real, counted, expect_integers, shown

GROUPS = "k and v have kv_heads head_dim rows, q and o heads head_dim; that need not be dim"
CACHE = "2 (keys and values) x layers x kv_heads x head_dim x tokens x dtype_bytes"


@pytest.mark.parametrize("name", GROUPED)
def test_parameters_of_any_model_are_those_of_a_real_one(name):
    """Nearly every model since 2023 shares key-value heads, and many have heads head_dim != dim."""
    m = GROUPED[name]
    hint = f"{GROUPS}; tied, the embedding is the head"
    expect_equal(parameters(m), Real(m).parameters(), what=f"parameters of {shown(m)} ({name})", hint=hint)


def test_published_models():
    """8.03 and 68.98 billion."""
    expect_equal(parameters(LLAMA_3_8B), 8_030_261_248, what="parameters of Llama-3-8B", hint=GROUPS)
    expect_equal(parameters(LLAMA_2_70B), 68_976_648_192, what="parameters of Llama-2-70B", hint=GROUPS)


@pytest.mark.parametrize("name", GROUPED)
def test_flops_of_any_model_are_what_torch_counts(name):
    """Sharing keys saves their projections and memory. The scores are as many as before: one per query head."""
    m = GROUPED[name]
    hint = (
        f"{GROUPS}; the scores go by heads, not kv_heads, and not by dim; a tied head is multiplied with all the same"
    )
    what = f"FLOPs of 3 new after 4 cached tokens of {shown(m)} ({name})"
    expect_equal(forward_flops(m, 3, 4), counted(m, 3, 4), what=what, hint=hint)


def test_tying_saves_a_table_and_no_flops():
    """It is one matrix with two uses."""
    tied = replace(LLAMA_3_8B, tied=True)
    less = parameters(LLAMA_3_8B) - parameters(tied)
    expect_equal(
        less, 128256 * 4096, what="what tying saves of Llama-3-8B's parameters", hint="one table of vocab x dim"
    )
    flops = [forward_flops(m, 2, 5) for m in (tied, LLAMA_3_8B)]
    expect_equal(flops[0], flops[1], what="FLOPs of the tied model", hint="the head is a product, whatever it shares")


def test_cache_of_a_small_model():
    """One layer of two heads of two: 4 keys and 4 values a token, of 2 bytes each."""
    expect_equal(kv_bytes(SMALL, 1), 16, what=f"kv_bytes of one token of {shown(SMALL)}", hint=CACHE)
    expect_equal(kv_bytes(SMALL, 5), 80, what=f"kv_bytes of 5 tokens of {shown(SMALL)}", hint=CACHE)


def test_caches_of_published_models():
    """Llama-3-8B: 128 KiB a token, 1 GiB for 8192. With one key-value head per query head it would be four."""
    want = {("Llama-3-8B", LLAMA_3_8B): 131_072, ("Llama-2-70B", LLAMA_2_70B): 327_680}
    for (name, m), each in (want | {("Llama-2-7B", LLAMA_2_7B): 524_288}).items():
        expect_equal(kv_bytes(m, 1), each, what=f"kv_bytes of one token of {name}", hint=CACHE)
    expect_equal(kv_bytes(LLAMA_3_8B, 8192), 2**30, what="kv_bytes of 8192 tokens of Llama-3-8B", hint=CACHE)


@pytest.mark.parametrize("name", GROUPED)
def test_cache_is_that_of_a_real_model(name):
    """The bytes of the keys and values that a real model returns, in float32."""
    m = GROUPED[name]
    _, cache = Real(m)(2, 5)
    want = sum(part.numel() * part.element_size() for part in cache)
    what = f"kv_bytes of 7 tokens of {shown(m)} ({name}), dtype_bytes=4"
    expect_equal(kv_bytes(m, 7, dtype_bytes=4), want, what=what, hint=CACHE)


def test_one_byte_caches_and_empty_ones():
    """An 8-bit cache holds twice as much, an empty one nothing."""
    expect_equal(kv_bytes(LLAMA_3_8B, 3, dtype_bytes=1), 3 * 65_536, what="kv_bytes(..., dtype_bytes=1)", hint=CACHE)
    expect_equal(kv_bytes(LLAMA_3_8B, 0), 0, what="kv_bytes of no tokens", hint="an empty cache is no error")


def test_counts_are_exact_integers():
    """A float is exact up to 2 ** 53 only, 9e15: a training run's FLOPs lie far above."""
    results = {"parameters": parameters(SMALL), "forward_flops": forward_flops(SMALL, 3, 0)}
    expect_integers(results | {"kv_bytes": kv_bytes(SMALL, 3)})
    hint = "a float on the way rounds: whole numbers throughout"
    odd = 3**17
    m = Decoder(
        1, odd, 1, 1, 1, 1, odd, tied=True
    )  # the head has odd x odd weights, and the layer 7 odd and 3 odd in norms
    expect_equal(parameters(m), odd**2 + 10 * odd, what=f"parameters of {shown(m)}", hint=hint)
    m = replace(m, hidden=2)
    expect_equal(forward_flops(m, 1, 0), 2 * odd**2 + 20 * odd + 4, what=f"FLOPs of a token of {shown(m)}", hint=hint)
    m = Decoder(1, 1, 1, 1, odd, 1, 1, tied=True)
    expect_equal(kv_bytes(m, odd, dtype_bytes=1), 2 * odd**2, what=f"bytes of {odd} tokens of {shown(m)}", hint=hint)


@pytest.mark.parametrize("wrong", [0, -1])
def test_new_tokens_must_be_some(wrong):
    """A forward of nothing is a misread config."""
    with expect_raises(ValueError, what=f"forward_flops with new={wrong}"):
        forward_flops(SMALL, wrong, 3)
    with expect_raises(ValueError, what=f"kv_bytes with dtype_bytes={wrong}"):
        kv_bytes(SMALL, 3, dtype_bytes=wrong)


def test_negative_caches_are_errors():
    """None may be cached, but not fewer."""
    with expect_raises(ValueError, what="forward_flops with context=-1"):
        forward_flops(SMALL, 2, -1)
    with expect_raises(ValueError, what="kv_bytes with tokens=-1"):
        kv_bytes(SMALL, -1)
