"""Stage 4. What appending, forking and attending cost."""

import pytest
import torch

from dojo.testing import expect, expect_operators, measure, randn
from katas.paged_kv_cache import PagedKVCache

BLOCK_SIZE, HEADS, HEAD_DIM, BATCH = 16, 4, 32, 4
TOKEN = 2 * HEADS * HEAD_DIM * 4  # bytes of one token's key and value
BLOCK = BLOCK_SIZE * TOKEN


def tokens(rng, n):
    return [randn(rng, HEADS, n, HEAD_DIM, dtype=torch.float32) for _ in range(2)]


def loaded(rng, stored, blocks=256):
    """A pool with BATCH sequences of so many tokens."""
    cache = PagedKVCache(blocks, BLOCK_SIZE, HEADS, HEAD_DIM)
    for seq in range(BATCH):
        cache.create(seq)
        cache.append(seq, *tokens(rng, stored))
    return cache


def attended(rng, stored, blocks, dtype=torch.float32):
    cache, q = loaded(rng, stored, blocks), randn(rng, BATCH, HEADS, HEAD_DIM, dtype=dtype)
    with measure() as spent:
        cache.attend(list(range(BATCH)), q)
    return spent


def expect_bytes(spent, most, *, what, of, hint):
    common = ", ".join(f"{name} {count}" for name, count in spent.calls.most_common(4))
    sentence = f"{what} should move at most {most} bytes, {of}, but moved {spent.bytes} ({common})"
    expect(spent.bytes <= most, sentence, hint=hint)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_attend_reads_the_blocks_of_its_sequences_not_the_pool(rng, dtype):
    """A pool is as large as the GPU's memory. Gathering the blocks reads and writes them, attention reads them again; eight
    times leaves room for other layouts, and for softmax by hand."""
    stored = 100  # 7 blocks
    spent, used = attended(rng, stored, 32 * BATCH * 7, dtype), BATCH * 7 * BLOCK * dtype.itemsize // 4
    least = BATCH * stored * TOKEN
    sentence = (
        f"torch operators should do the work of attend, but moved {spent.bytes} bytes, of {least} that are stored"
    )
    expect(spent.bytes >= least, sentence, hint="compute with torch: numpy and Python loops are not counted")
    hint = "index the pool with the tables first, and convert what that gives: so only their blocks are read"
    what = f"attend to {BATCH} sequences of {stored} tokens in a pool of float32 with queries in {dtype}"
    of = f"8 times all of their blocks ({used} bytes)"
    expect_bytes(spent, 8 * used, what=what, of=of, hint=hint)


def test_attend_takes_as_many_operators_for_long_sequences(rng):
    """A loop over blocks or tokens launches thousands of kernels."""
    few = attended(rng, 20, 256)
    hint = "one gather with all of a table's blocks, and one attention; no loop over blocks"
    what = f"attend to {BATCH} sequences of 500 tokens, where sequences of 20 tokens take {few.operators} operators,"
    expect_operators(attended(rng, 500, 256), few.operators + 4, what=what, hint=hint)


@pytest.mark.parametrize("shared", [False, True], ids=["own block", "shared block"])
def test_one_token_is_written_without_copying_the_others(rng, shared):
    """200 tokens, 12 blocks and a half. The token is written; a shared last block is copied before, and none else."""
    cache, (k, v) = loaded(rng, 200), tokens(rng, 1)
    cache.fork(0, "fork")
    with measure() as spent:
        cache.append("fork" if shared else 1, k, v)
    blocks = 6 if shared else 2  # a copy reads and writes; the rest is room for other ways and for indices
    expect(spent.operators > 0, "torch operators should do the work of append, but none was seen")
    hint = "copy the one block that is written to" if shared else "write into the block; copy nothing"
    what = f"append of one token to {'a shared' if shared else 'an own'} block behind 200 tokens"
    expect_bytes(spent, blocks * BLOCK, what=what, of=f"the bytes of {blocks} blocks", hint=hint)


@pytest.mark.parametrize("stored", [0, 200])
def test_many_tokens_are_written_at_once(rng, stored):
    """A prompt of 500 tokens is written with as many operators as one of 20; each byte a few times."""
    operators = []
    for n in (20, 500):
        cache, (k, v) = loaded(rng, stored), tokens(rng, n)
        with measure() as spent:
            cache.append(1, k, v)
        operators.append(spent.operators)
        of = "6 times those of the tokens, and two blocks"
        most = 6 * n * TOKEN + 2 * BLOCK
        expect_bytes(
            spent, most, what=f"append of {n} tokens", of=of, hint="write the tokens that are new, and only them"
        )
        sentence = f"torch operators should write {n} tokens, {n * TOKEN} bytes, but moved only {spent.bytes} bytes"
        expect(spent.bytes >= n * TOKEN, sentence, hint="compute with torch")
    sentence = (
        f"append of 500 tokens should take about as many operators as of 20 ({operators[0]}), but took {operators[1]}"
    )
    expect(
        operators[1] <= operators[0] + 4, sentence, hint="index with every token's block and slot; no loop over blocks"
    )


def test_fork_and_free_copy_nothing(rng):
    """They change tables and counts."""
    cache = loaded(rng, 200)
    with measure() as spent:
        cache.fork(0, "fork")
        cache.free(0)
        cache.create("again", cache.table("fork")[:12])
    hint = "share the blocks, and count"
    of = "those of 6 of its 13 blocks, which is room for tables as tensors"
    expect_bytes(spent, 6 * BLOCK, what="fork, free and create with blocks", of=of, hint=hint)
