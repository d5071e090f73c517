"""What any right cache does. The oracle keeps each sequence's keys and values whole, and knows no blocks."""

import torch
from torch import Tensor
from torch.nn import functional as F

from dojo.testing import expect, expect_close, expect_equal, expect_unchanged, randn
from dojo.testing.describe import describe
from katas.paged_kv_cache import PagedKVCache

HEADS, HEAD_DIM = 2, 4
LAYOUT = "the token at position p lies in block table[p // block_size] at slot p % block_size"


class Tracked:
    """A cache, and the keys and values that each of its sequences should hold."""

    def __init__(self, rng, blocks=12, block_size=4, *, loud=1.0, dtype=torch.float64):
        self.cache, self.rng, self.loud = PagedKVCache(blocks, block_size, HEADS, HEAD_DIM, dtype=dtype), rng, loud
        self.blocks, self.block_size = blocks, block_size
        self.held: dict = {}
        self.log: list[str] = []

    def create(self, seq, blocks=None, source=None):
        """A new sequence; with `blocks`, those of `source`, which must be its first ones."""
        self.log.append(f"create({seq!r})" if blocks is None else f"create({seq!r}, {blocks})")
        empty = torch.empty(2, HEADS, 0, HEAD_DIM, dtype=torch.float64)
        self.held[seq] = empty if blocks is None else self.held[source][:, :, : len(blocks) * self.block_size]
        self.cache.create(*([seq] if blocks is None else [seq, blocks]))

    def append(self, seq, n, loud=None):
        """Appends n random tokens, a new sequence's first ones too."""
        if seq not in self.held:
            self.create(seq)
        self.log.append(f"append({seq!r}, {n} tokens)")
        both = randn(self.rng, 2, HEADS, n, HEAD_DIM) * (loud or self.loud)
        k, v = both
        with expect_unchanged(k, v, what="k or v", hint="append copies"):
            self.cache.append(seq, k, v)
        self.held[seq] = torch.cat([self.held[seq], both], 2)

    def fork(self, parent, child):
        self.log.append(f"fork({parent!r}, {child!r})")
        self.cache.fork(parent, child)
        self.held[child] = self.held[parent]

    def free(self, seq):
        self.log.append(f"free({seq!r})")
        del self.held[seq]
        return self.cache.free(seq)

    def when(self):
        return "after " + ", ".join(self.log[-6:])

    def check(self, *, hint=LAYOUT):
        """Lengths, tables, free blocks, and all answers."""
        for seq in self.held:
            expect_length(self, seq)
        tables = {seq: table_of(self, seq) for seq in self.held}
        expect_free(self, self.blocks - len({block for table in tables.values() for block in table}), hint=hint)
        self.answers(*[seq for seq, held in self.held.items() if held.shape[2]], hint=hint)

    def answers(self, *seqs, hint=LAYOUT):
        """The answers to one query for each of these sequences, in one batch, are those over all that they hold."""
        if not seqs:
            return
        q = randn(self.rng, len(seqs), HEADS, HEAD_DIM)
        with expect_unchanged(q, what="q"):
            got = self.cache.attend(list(seqs), q)
        what = f"attend({list(seqs)!r}, q) {self.when()}"
        want = torch.stack([dense(query, *self.held[seq]) for query, seq in zip(q, seqs, strict=True)])
        # More than the order of a sum can do, at any size of the values.
        size = max(float(self.held[seq].abs().max()) for seq in seqs)
        expect_close(got, want, what=what, hint=hint, rtol=1e-9, atol=1e-9 * size)


def dense(query, keys, values):
    """Attention of one query [heads, head_dim] over keys and values [heads, n, head_dim]."""
    return F.scaled_dot_product_attention(query[:, None], keys, values)[:, 0]


def expect_length(tracked, seq, hint="append adds n"):
    want = tracked.held[seq].shape[2]
    expect_equal(tracked.cache.length(seq), want, what=f"length({seq!r}) {tracked.when()}", hint=hint)


def expect_free(tracked, want, hint="a block is free when no table holds it"):
    got = tracked.cache.free_blocks
    got = describe(got) if isinstance(got, Tensor) else got
    expect_equal(got, want, what=f"free_blocks {tracked.when()}", hint=hint)


def table_of(tracked, seq, cache=None):
    """The sequence's table: a list of different numbers of blocks, as many as its tokens need."""
    table, what = (cache or tracked.cache).table(seq), f"table({seq!r}) {tracked.when()}"
    plain = isinstance(table, list) and all(type(block) is int for block in table)
    expect(plain, f"{what} should be a list of ints, but is {describe(table)}")
    tokens = tracked.held[seq].shape[2]
    hint = "ceil(length / block_size): a new block only when the last one is full, and none for an empty sequence"
    blocks = f"the number of blocks in {what}, for {tokens} tokens in blocks of {tracked.block_size},"
    expect_equal(len(table), -(-tokens // tracked.block_size), what=blocks, hint=hint)
    inside = all(0 <= block < tracked.blocks for block in table)
    expect(inside, f"{what} should hold numbers from 0 to {tracked.blocks - 1}, but is {table}")
    expect(len(set(table)) == len(table), f"{what} should hold different blocks, but is {table}")
    return table


def expect_blocks(blocks, want, *, what, hint):
    """A list of blocks in any order."""
    listed = isinstance(blocks, list | tuple | set)
    expect(listed, f"{what} should be a list of blocks, but is {describe(blocks)}", hint=hint)
    expect_equal(sorted(blocks), sorted(want), what=f"{what}, sorted,", hint=hint)
