"""Stage 3. Decoding on a roofline. A card that only computes, or only reads, shows one of the two times by itself."""

from dataclasses import replace
from itertools import pairwise

import pytest

from dojo.testing import expect, expect_equal, expect_raises
from katas.llm_arithmetic import Card, critical_batch, decode_seconds, forward_flops, kv_bytes, max_batch, parameters

from .helpers import GROUPED, H100, LLAMA_3_8B, SMALL, expect_integers, expect_number

READER = Card(2.0**300, 1.0, 1)  # one byte per second, and computing takes no time: seconds are bytes
COMPUTER = Card(1.0, 2.0**300, 1)  # one FLOP per second, and reading takes no time: seconds are FLOPs
READ = (
    "every parameter once a step, but of an untied embedding only the few rows looked up; the caches of all sequences"
)


def test_batch_1_reads_all_weights_for_one_token():
    """15 GB at 3.35 TB/s: 4.48 ms, 223 tokens per second, while the card computes for 15 microseconds."""
    got = decode_seconds(LLAMA_3_8B, H100, 1, 0)
    expect_number(got, 2 * 7_504_924_672 / 3.35e12, what="seconds of Llama-3-8B on an H100 at batch 1", hint=READ)


def test_a_step_reads_weights_and_caches():
    """SMALL reads 188 of its 228 parameters, and 16 bytes per cached token; the new token's own need no reading."""
    for batch, context, want in ((1, 0, 376), (1, 1, 392), (1, 10, 536), (4, 10, 1016)):
        what = f"bytes read by a step at batch {batch} after {context} tokens"
        expect_number(decode_seconds(SMALL, READER, batch, context), want, what=what, hint=READ)


def test_a_step_computes_a_forward_of_each_sequence():
    """Reading is shared by the batch, computing is not."""
    for name, m in GROUPED.items():
        for batch, context in ((1, 0), (5, 7)):
            want = batch * forward_flops(m, 1, context)
            what = f"FLOPs of a step at batch {batch} after {context} tokens ({name})"
            hint = "batch x forward_flops(m, 1, context)"
            expect_number(decode_seconds(m, COMPUTER, batch, context), want, what=what, hint=hint)


@pytest.mark.parametrize("name", GROUPED)
def test_more_sequences_read_more_caches_and_no_more_weights(name):
    """What batching is for."""
    m = GROUPED[name]
    one, many = (decode_seconds(m, READER, batch, 6) for batch in (1, 8))
    hint = "weights are read once a step, each sequence's cache once per sequence"
    expect_number(many - one, 7 * kv_bytes(m, 6), what=f"bytes that 7 more sequences read ({name})", hint=hint)


def test_a_tied_table_is_read_as_the_head():
    """Tying saves memory and no bandwidth: a step reads one table in either case."""
    tied = replace(SMALL, tied=True)
    got = decode_seconds(tied, READER, 1, 3)
    expect_number(got, decode_seconds(SMALL, READER, 1, 3), what="bytes read by a step of a tied model", hint=READ)


def test_weights_and_caches_have_bytes_of_their_own():
    """int4 weights read a quarter of 376 bytes, and the cache of 160 stays what it is."""
    for options, want in (
        ({"weight_bytes": 0.5}, 94 + 160),
        ({"kv_bytes_each": 1}, 376 + 80),
        ({"weight_bytes": 0.5625, "kv_bytes_each": 4}, 105.75 + 320),
    ):
        got = decode_seconds(SMALL, READER, 1, 10, **options)
        expect_number(got, want, what=f"bytes read by a step with {options}", hint="weight_bytes and kv_bytes_each")
        got = decode_seconds(SMALL, COMPUTER, 1, 0, **options)
        expect_number(got, 368, what=f"FLOPs of a step with {options}", hint="bytes do not change what is computed")


def test_a_step_takes_the_longer_time():
    """Computing and reading overlap: where both take a second, the step takes one, not two."""
    for flops, bandwidth, want in ((368, 376, 1), (368, 188, 2), (92, 376, 4)):
        got = decode_seconds(SMALL, Card(flops, bandwidth, 1), 1, 0)
        what = f"seconds of 368 FLOPs at {flops} per second and 376 bytes at {bandwidth} per second"
        expect_number(got, want, what=what, hint="the longer of the two: neither their sum nor the shorter")
    got = decode_seconds(SMALL, Card(264, 536, 1), 1, 10)
    what = "seconds of 528 FLOPs at 264 per second and 376 + 160 bytes of weights and cache at 536 per second"
    expect_number(got, 2, what=what, hint="the cache is read while the step computes, as the weights are")


def test_critical_batch_is_half_the_ridge_times_the_bytes():
    """989 TFLOP/s over 3.35 TB/s: 295 FLOPs in the time of a byte. A 2-byte weight and 2 FLOPs per sequence: batch 295."""
    hint = "batch x 2 / flops = weight_bytes / bandwidth, for each weight"
    expect_number(critical_batch(H100), 295.2238805970149, what="critical_batch of an H100", hint=hint)
    for weight_bytes, want in ((1, 100), (2, 200), (4, 400), (0.5, 50), (0.5625, 56.25)):
        got = critical_batch(Card(600, 3, 1), weight_bytes=weight_bytes)
        what = f"critical_batch of Card(600, 3, ...) with weight_bytes={weight_bytes}"
        expect_number(got, want, what=what, hint=f"{hint}; not rounded")


@pytest.mark.parametrize("name", GROUPED)
def test_caches_lie_beside_the_parameters(name):
    """Exactly three fit; with a byte less, two. With no room for one it is 0, however far the parameters exceed it."""
    m = GROUPED[name]
    weights, cache = 2 * parameters(m), kv_bytes(m, 9)
    for memory, want in (
        (weights + 3 * cache, 3),
        (weights + 3 * cache - 1, 2),
        (weights + cache - 1, 0),
        (weights, 0),
        (weights - 1, 0),
        (1, 0),
    ):
        what = (
            f"max_batch with {weights} bytes of parameters, {cache} of cache each, and {memory} bytes in all ({name})"
        )
        hint = "memory minus all parameters (an untied table, too), over one cache; rounded down, and never negative"
        expect_equal(max_batch(m, Card(1.0, 1.0, memory), 9), want, what=what, hint=hint)


def test_max_batch_of_a_published_model():
    """80 GB less 16 leave 63.9 GB, 59 caches of 8192 tokens. 4-bit weights make it 70, an 8-bit cache beside them 141."""
    for options, want in (
        ({}, 59),
        ({"weight_bytes": 0.5}, 70),
        ({"kv_bytes_each": 1}, 119),
        ({"weight_bytes": 0.5, "kv_bytes_each": 1}, 141),
    ):
        what = f"max_batch of Llama-3-8B with {options} on an H100 of 80e9 bytes, 8192 tokens"
        hint = "bytes are bytes, not GiB; weight_bytes is for parameters, kv_bytes_each for caches"
        expect_equal(max_batch(LLAMA_3_8B, H100, 8192, **options), want, what=what, hint=hint)


def test_max_batch_is_an_integer():
    """Also where weights have half a byte, and where nothing fits."""
    card = Card(1.0, 1.0, 1000)
    expect_integers({f"max_batch with {w} bytes": max_batch(SMALL, card, 2, weight_bytes=w) for w in (2.0, 0.5, 9.0)})


def test_larger_batches_are_never_faster():
    """Over the ridge, with short texts and long ones."""
    for context in (0, 10_000):
        times = [decode_seconds(LLAMA_3_8B, H100, batch, context) for batch in (1, 100, 300, 900)]
        rising = all(a <= b for a, b in pairwise(times))
        sentence = f"seconds of batches 1, 100, 300 and 900 should not fall, but are {times}"
        expect(rising, sentence, hint="the longer of the two times")


@pytest.mark.parametrize("wrong", [0, -1])
def test_steps_begin_at_one_sequence_and_no_context(wrong):
    """The smallest step has an answer, and below it is an error, before a division by zero says so."""
    expect_number(decode_seconds(SMALL, READER, 1, 0), 376, what="bytes read by the smallest step", hint=READ)
    for name in ("batch", "weight_bytes", "kv_bytes_each"):
        with expect_raises(ValueError, what=f"decode_seconds with {name}={wrong}"):
            decode_seconds(SMALL, H100, **{"batch": 1, "context": 1, name: wrong})
    for name in ("tokens", "weight_bytes", "kv_bytes_each"):
        with expect_raises(ValueError, what=f"max_batch with {name}={wrong}"):
            max_batch(SMALL, H100, **{"tokens": 1, name: wrong})
    with expect_raises(ValueError, what=f"critical_batch with weight_bytes={wrong}"):
        critical_batch(H100, weight_bytes=wrong)
    with expect_raises(ValueError, what="decode_seconds with context=-1"):
        decode_seconds(SMALL, H100, 1, -1)
