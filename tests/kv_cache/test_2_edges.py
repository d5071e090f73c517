"""Stage 2. Unequal lengths, prompts in chunks, a full cache, eos, wrong arguments."""

import pytest
import torch
from torch.nn import functional as F

from dojo.testing import expect_close, expect_equal, expect_raises
from katas.kv_cache import KVCache, cached_forward, generate

from .helpers import (
    VOCAB,
    alone,
    cache_for,
    cut,
    expect_lengths,
    expect_logits,
    feed,
    greedy,
    new_decoder,
    qkv,
    step,
    texts_of,
)

# How many tokens each of three rows of 6, 3 and 4 tokens adds, call by call.
CHUNKS = {
    "all at once": [(6, 3, 4)],
    "a prefill and steps": [(4, 1, 2), (1, 1, 1), (1, 1, 1)],
    "turns": [(3, 0, 2), (0, 2, 1), (0, 1, 0), (3, 0, 1)],
    "late": [(0, 0, 4), (1, 0, 0), (5, 3, 0)],
}


@pytest.mark.parametrize("chunks", CHUNKS.values(), ids=CHUNKS)
def test_a_batch_of_unequal_rows_equals_each_row_alone(rng, chunks):
    """Every row has a length and positions of its own. One position for the batch is right for one row only."""
    decoder = new_decoder(rng)
    cache, texts = cache_for(decoder, 3, 6), texts_of(rng, 6, 3, 4)
    wanted, ends = [alone(decoder, text) for text in texts], [0, 0, 0]
    for counts in chunks:
        starts, ends = ends, [end + count for end, count in zip(ends, counts, strict=True)]
        parts = [slice(*part) for part in zip(starts, ends, strict=True)]
        rows = feed(decoder, cache, [text[part] for text, part in zip(texts, parts, strict=True)])
        want = [logits[part] for logits, part in zip(wanted, parts, strict=True)]
        hint = "row b writes its counts[b] tokens at lengths[b], and sees no more than that"
        expect_logits(rows, want, note=f"after {ends} tokens in the rows", hint=hint)
        expect_lengths(
            cache, ends, when=f"after {list(counts)} new tokens", hint="lengths + counts; padding is not counted"
        )


def test_padding_has_no_influence(rng):
    """Neither as a token nor, loud, as a key. Were it stored, row 1's next token would see it."""
    decoder, texts = new_decoder(rng), texts_of(rng, 4, 2)
    results = []
    for padding in (0, VOCAB - 1):
        cache = cache_for(decoder, 2)
        results.append(feed(decoder, cache, texts, padding) + feed(decoder, cache, [[5], [6]]))
    expect_logits(results[1], results[0], note="with other tokens as padding", hint="store the real tokens alone")
    cache, counts = KVCache(1, 2, 2, 8, 4, dtype=torch.float64), torch.tensor([4, 2])
    q, k, v = qkv(rng, 2, 5)
    k[1, :, 2:4] = v[1, :, 2:4] = 1e4  # row 1's padding
    step(cache, q[:, :, :4], k[:, :, :4], v[:, :, :4], counts)
    cache.advance(counts)
    got = step(cache, q[:, :, 4:], k[:, :, 4:], v[:, :, 4:], torch.tensor([1, 1]))
    want = F.scaled_dot_product_attention(q[1, :, 4:], k[1, :, [0, 1, 4]], v[1, :, [0, 1, 4]])
    hint = "the first counts[b] tokens of row b are real, and only they are stored"
    expect_close(got[1], want, what="the answer to row 1's third token, after padding of 1e4", hint=hint)


@pytest.mark.parametrize("left", [1, 0])
def test_a_full_row_beside_one_with_room(rng, left):
    """Row 0 has one place left, or none; row 1 adds three tokens. Row 0's padding would reach beyond its last place, and
    beyond the last position that the decoder has."""
    decoder = new_decoder(rng, max_positions=5)
    cache, texts = cache_for(decoder, 2, 5), texts_of(rng, 5, 5)
    starts = (5 - left, 2)
    feed(decoder, cache, [text[:start] for text, start in zip(texts, starts, strict=True)])
    rows = feed(decoder, cache, [text[start:] for text, start in zip(texts, starts, strict=True)])
    want = [alone(decoder, text)[start:] for text, start in zip(texts, starts, strict=True)]
    hint = "write real tokens alone, and give padding a position that exists"
    expect_logits(rows, want, note=f"where row 0 had room for {left}", hint=hint)
    expect_lengths(cache, [5, 5], when="of two rows filled to max_length")


def test_nothing_new_in_an_empty_cache(rng):
    """The result is free where nothing is real, but asking is no error: a scheduler's first call may be idle."""
    decoder, (text,) = new_decoder(rng), texts_of(rng, 3)
    cache = cache_for(decoder, 2)
    feed(decoder, cache, [[], []])
    expect_lengths(cache, [0, 0], when="after a call with counts of 0")
    rows = feed(decoder, cache, [[], text])
    want = [alone(decoder, text)[:0], alone(decoder, text)]
    expect_logits(rows, want, note="after a call with counts of 0", hint="a row that adds nothing stays as it was")


@pytest.mark.parametrize("counts", [(2, 2), (1, 3), (2, 0)], ids=str)
def test_too_many_tokens_are_refused_before_anything_is_written(rng, counts):
    """Rows of 4 and 3 tokens, 5 places. Wrapping around, or stopping halfway, would spoil what is stored."""
    decoder = new_decoder(rng, max_positions=5)
    cache, texts = cache_for(decoder, 2, 5), texts_of(rng, 5, 5)
    feed(decoder, cache, [texts[0][:4], texts[1][:3]])
    with expect_raises(ValueError, what=f"cached_forward with counts {counts} at lengths [4, 3] of 5"):
        cached_forward(decoder, torch.zeros(2, 3).long(), torch.tensor(counts), cache)
    with expect_raises(ValueError, what=f"write with counts {counts} at lengths [4, 3] of 5"):
        cache.write(0, *qkv(rng, 2, 3)[1:], torch.tensor(counts))
    expect_lengths(cache, [4, 3], when="after a write that was refused", hint="check before the first row is written")
    rows = feed(decoder, cache, [texts[0][4:], texts[1][3:4]])
    want = [alone(decoder, texts[0])[4:], alone(decoder, texts[1])[3:4]]
    expect_logits(rows, want, note="at the last places", hint="max_length tokens fit; check before anything is written")


def test_generate_from_unequal_prompts_equals_each_prompt_alone(rng):
    """The next token stands behind the prompt's own last token, not behind the padding."""
    decoder, prompts = new_decoder(rng), texts_of(rng, 3, 1, 5)
    expect_equal(
        generate(decoder, prompts, 6),
        greedy(decoder, prompts, 6),
        what=f"the answers to {prompts}",
        hint="a row's first token comes from the logits at its own last token, counts - 1",
    )


def test_a_row_ends_with_eos_and_the_others_go_on(rng):
    """eos is what some row generates at first, or third, so that it ends while others run; eos belongs to the answer."""
    decoder, prompts = new_decoder(rng), texts_of(rng, 4, 1, 2)
    free = greedy(decoder, prompts, 6)
    for eos in (free[0][0], free[1][0], free[0][2], free[2][2]):
        expect_equal(
            generate(decoder, prompts, 6, eos_token=eos),
            [cut(answer, eos) for answer in free],
            what=f"the answers to {prompts} with eos_token={eos}",
            hint="cut a row after its eos, and do not disturb the others",
        )


def test_eos_in_a_prompt_ends_nothing(rng):
    """Chat prompts are full of end-of-turn tokens."""
    decoder, prompts = new_decoder(rng), texts_of(rng, 3, 2)
    eos = prompts[0][-1]
    want = greedy(decoder, prompts, 4, eos)
    got = generate(decoder, prompts, 4, eos_token=eos)
    expect_equal(got, want, what=f"the answers to {prompts} with eos_token={eos}", hint="look at new tokens only")


def test_the_last_position_may_be_used(rng):
    """A prompt of 5 and 8 new tokens with 12 positions: the last token is never fed, so it needs none."""
    decoder, prompts = new_decoder(rng, max_positions=12), texts_of(rng, 5, 2)
    want = greedy(decoder, prompts, 8)
    hint = "stop when enough tokens are chosen; the last one is not fed"
    expect_equal(generate(decoder, prompts, 8), want, what="8 tokens after a prompt of 5 at 12 positions", hint=hint)


def test_a_row_that_has_ended_takes_no_more_room(rng):
    """The longest prompt ends at once, with one position left, while the short one goes on for longer than that."""
    decoder, prompts = new_decoder(rng, max_positions=12), texts_of(rng, 11, 2)
    eos = greedy(decoder, prompts[:1], 1)[0][0]
    want = [[eos], *greedy(decoder, prompts[1:], 8, eos)]
    hint = "a row that has ended is given no more tokens: its counts are 0"
    what = f"the answers to prompts of 11 and 2 tokens at 12 positions with eos_token={eos}"
    expect_equal(generate(decoder, prompts, 8, eos_token=eos), want, what=what, hint=hint)


@pytest.mark.parametrize("most", [0, 1])
def test_few_tokens(rng, most):
    """No token: empty answers. One: the prefill alone knows it."""
    decoder, prompts = new_decoder(rng), texts_of(rng, 3, 2)
    want = greedy(decoder, prompts, most)
    expect_equal(generate(decoder, prompts, most), want, what=f"the answers with max_new_tokens={most}")


def test_wrong_arguments_are_errors(rng):
    """An empty prompt has no last logits; a count outside the chunk is a bug of the caller's."""
    decoder = new_decoder(rng)
    for prompts in ([[]], [[1, 2], []]):
        with expect_raises(ValueError, what=f"generate with prompts {prompts}"):
            generate(decoder, prompts, 3)
    with expect_raises(ValueError, what="generate with max_new_tokens=-1"):
        generate(decoder, [[1, 2]], -1)
    for counts in ([3, 1], [1, -1]):
        cache = cache_for(decoder, 2)
        with expect_raises(ValueError, what=f"cached_forward with 2 new tokens and counts {counts}"):
            cached_forward(decoder, torch.zeros(2, 2).long(), torch.tensor(counts), cache)
        with expect_raises(ValueError, what=f"write with 2 new tokens and counts {counts}"):
            cache.write(0, *qkv(rng, 2, 2)[1:], torch.tensor(counts))
        expect_lengths(cache, [0, 0], when=f"after counts {counts} were refused")
