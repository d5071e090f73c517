"""Stage 4. Training: what ZeRO leaves per worker, and how much of a card a model needs."""

import pytest

from dojo.testing import expect_equal, expect_raises
from katas.llm_arithmetic import Card, mfu, training_bytes

from .helpers import GROUPED, H100, LLAMA_3_8B, SMALL, counted, expect_integers, expect_number

ZERO = "stage 1 shards the optimizer's 12 bytes, 2 also the gradient's 2, 3 also the weight's 2"


def test_zero_on_64_workers():
    """The paper's figure: 7.5 billion parameters take 120, 31.4, 16.6 and 1.9 GB."""
    for stage, want in enumerate((120_000_000_000, 31_406_250_000, 16_640_625_000, 1_875_000_000)):
        got = training_bytes(7_500_000_000, 64, stage)
        expect_equal(got, want, what=f"training_bytes of 7.5e9 parameters, 64 workers, stage {stage}", hint=ZERO)


def test_shards_need_not_come_out_even():
    """10 parameters over 4 workers: one holds 3 of them, and out of memory is what happens to the fullest."""
    for stage, want in enumerate((160, 40 + 36, 20 + 42, 48)):
        what = f"training_bytes of 10 parameters, 4 workers, stage {stage}"
        expect_equal(training_bytes(10, 4, stage), want, what=what, hint=f"{ZERO}; a shard has 10 / 4, rounded up")
    for stage, want in enumerate((48, 12 + 12, 6 + 14, 16)):
        what = f"training_bytes of 3 parameters, 8 workers, stage {stage}"
        expect_equal(training_bytes(3, 8, stage), want, what=what, hint="the fullest worker has one parameter")


def test_float32_training_has_no_copy():
    """16 bytes as well, but 4 + 4 + 8: there is less to shard in stage 1."""
    for stage, want in enumerate((160, 80 + 24, 40 + 36, 48)):
        what = f"training_bytes of 10 parameters, 4 workers, stage {stage}, mixed=False"
        hint = "float32: weight 4, gradient 4, two moments 8, and no second copy of the weight"
        expect_equal(training_bytes(10, 4, stage, mixed=False), want, what=what, hint=hint)


@pytest.mark.parametrize("mixed", [True, False])
@pytest.mark.parametrize("stage", range(4))
def test_one_worker_shards_nothing(stage, mixed):
    """Alone, it holds all 16 bytes, whatever the stage."""
    what = f"training_bytes of 7 parameters, one worker, stage {stage}, mixed={mixed}"
    expect_equal(training_bytes(7, 1, stage, mixed=mixed), 112, what=what, hint="16 bytes a parameter in either case")


def test_training_bytes_are_exact_integers():
    """Above 2 ** 53 a float is not: 5e16 + 1 parameters over two workers."""
    expect_integers({f"training_bytes in stage {stage}": training_bytes(10, 4, stage) for stage in range(4)})
    n = 5 * 10**16 + 1
    for stage, want in enumerate((16 * n, 10 * n + 6, 9 * n + 7, 8 * n + 8)):
        what = f"training_bytes of {n} parameters, 2 workers, stage {stage}"
        hint = "round up in integers: -(-a // b), or (a + b - 1) // b"
        expect_equal(training_bytes(n, 2, stage), want, what=what, hint=hint)


def test_training_on_one_token_takes_three_forwards():
    """A backward has two products for each of the forward's: one for the weight, one for the input."""
    card = Card(1104.0, 1.0, 1)  # 3 x 368 FLOPs per second
    expect_number(
        mfu(SMALL, card, 1.0, 1), 1.0, what="mfu at one token a second, which needs all of it", hint="3 x 368"
    )
    expect_number(mfu(SMALL, card, 0.25, 1), 0.25, what="mfu at a quarter of that", hint="a share: 1 is 100 %")


@pytest.mark.parametrize("name", ["grouped queries", "tied", "heads wider than dim"])
def test_training_takes_what_torch_counts(name):
    """Forward and backward of a real model: exactly three forwards. mfu is FLOPs per token x tokens / the card's FLOPs."""
    m = GROUPED[name]
    per_token = counted(m, 6, train=True) / 6
    hint = "3 forwards of `length` tokens without a cache, over length: attention grows with it, and the mask is not taken off"
    got = mfu(m, Card(1000.0, 1.0, 1), 50.0, 6)
    expect_number(
        got, per_token * 50 / 1000, what="mfu of 50 tokens a second at 1000 FLOPs a second, length 6", hint=hint
    )


def test_longer_sequences_use_more_of_a_card_for_the_same_tokens():
    """8000 tokens a second of Llama-3-8B are 38 % of an H100 at length 1024, 47 % at 8192: more of it is attention."""
    for length, want in ((1024, 0.3773), (8192, 0.4685)):  # to four digits
        what = f"mfu of Llama-3-8B at 8000 tokens a second on an H100, length {length}"
        hint = "a token's part of the sequence's FLOPs, three forwards"
        expect_number(mfu(LLAMA_3_8B, H100, 8000, length), want, what=what, hint=hint, rtol=2e-4)


@pytest.mark.parametrize("wrong", [0, -1])
def test_training_begins_at_one_parameter_and_one_worker(wrong):
    """The smallest training has an answer; no parameters, workers, tokens or length are an error."""
    expect_equal(training_bytes(1, 1, 3), 16, what="training_bytes of one parameter on one worker", hint=ZERO)
    with expect_raises(ValueError, what=f"training_bytes with parameter_count={wrong}"):
        training_bytes(wrong, 4, 1)
    with expect_raises(ValueError, what=f"training_bytes with workers={wrong}"):
        training_bytes(10, wrong, 1)
    with expect_raises(ValueError, what=f"mfu with tokens_per_second={wrong}"):
        mfu(SMALL, H100, wrong, 4)
    with expect_raises(ValueError, what=f"mfu with length={wrong}"):
        mfu(SMALL, H100, 5, wrong)


def test_zero_has_the_stages_0_to_3():
    """Each shards more than the one before; there is none beyond."""
    held = [training_bytes(100, 4, stage) for stage in range(4)]
    expect_equal(held, [1600, 700, 550, 400], what="training_bytes of 100 parameters on 4 workers, by stage", hint=ZERO)
    for stage in (-1, 4):
        with expect_raises(ValueError, what=f"training_bytes with stage={stage}"):
            training_bytes(10, 4, stage)
