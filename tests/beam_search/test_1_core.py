"""Stage 1. The search and the cache."""

import math

import pytest
import torch

from dojo.testing import expect, expect_equal
from dojo.testing.decoding import every_hypothesis, markov
from katas.beam_search import beam_search, beam_search_with_cache

from .helpers import Recurrent, expect_list


def test_beam_search_finds_what_greedy_decoding_misses():
    """Worked: greedy takes 1 (0.55) and then at best 0.55 x 0.4 = 0.22; starting with 2 gives 0.4 x 0.9 = 0.36."""
    model = markov([[0.04, 0.55, 0.40, 0.01], [0.24, 0.35, 0.40, 0.01], [0.05, 0.90, 0.04, 0.01], [0.1, 0.2, 0.3, 0.4]])
    expect_list(
        beam_search(model, 0, 3, beam_width=2, max_length=2),
        [([0, 2, 1], math.log(0.36)), ([0, 1, 2], math.log(0.22))],
        what="a search with two beams",
        hint="start from one beam (copies stay copies), and choose among the children of all beams together: candidate = "
        "parent * vocab + token",
    )


def test_one_beam_may_have_all_the_children():
    """Worked: the two best children, 0.6 x 0.5 and 0.6 x 0.4, are both of the first beam; the second's best is 0.14."""
    model = markov([[0.04, 0.60, 0.35, 0.01], [0.50, 0.40, 0.09, 0.01], [0.40, 0.35, 0.24, 0.01], [0.1, 0.2, 0.3, 0.4]])
    expect_list(
        beam_search(model, 0, 3, beam_width=2, max_length=2),
        [([0, 1, 0], math.log(0.30)), ([0, 1, 1], math.log(0.24))],
        what="a search where one beam has both of the best children",
        hint="rank the children of all beams in one list: no beam has a share of places that is its own",
    )


@pytest.mark.parametrize(("vocab", "length"), [(2, 4), (3, 3), (4, 3), (5, 2)])
def test_a_wide_beam_equals_brute_force(rng, vocab, length):
    """With room for every prefix nothing is ever pruned: the list is all there is, sorted."""
    model = Recurrent(rng, vocab)
    expect_list(
        beam_search(model.full, 0, 1, vocab**length, length),
        every_hypothesis(model.full, vocab, 1, length),
        what=f"all hypotheses of {vocab} tokens and at most {length} steps",
        hint="finished and, at max_length, unfinished hypotheses all compete; each keeps its own prefix and its own sum",
    )


def test_one_beam_is_greedy_decoding(rng):
    """At width 1 and penalty 0 there is nothing to choose: the best token each time, until eos."""
    found = beam_search(
        markov([[0.35, 0.25, 0.4], [0.3, 0.4, 0.3], [0.5, 0.35, 0.15]]), 2, 1, beam_width=1, max_length=3
    )
    expect_list(
        found,
        [([2, 0, 2, 0], math.log(0.5 * 0.4 * 0.5))],
        what="the hypotheses at beam_width=1",
        hint="[2, 1] has 0.35, which is more, but eos=1 was only the second best: it must not finish a hypothesis here",
    )
    for _ in range(12):
        model, greedy = Recurrent(rng, 5), [0]
        while len(greedy) <= 6 and (len(greedy) == 1 or greedy[-1] != 1):
            greedy.append(int(model.full(torch.tensor([greedy])).argmax()))
        found = beam_search(model.full, 0, 1, beam_width=1, max_length=6)
        expect_equal(
            [h.tokens for h in found],
            [greedy],
            what="the hypotheses at beam_width=1",
            hint="an eos that is not the best candidate must not finish a hypothesis here",
        )


def test_every_hypothesis_is_well_formed_and_its_score_is_its_own(rng):
    """Whatever was pruned: a score is the sum over the tokens that stand next to it."""
    for width, length, penalty in [(2, 6, 0.0), (3, 5, 0.0), (4, 6, 1.0), (3, 7, 0.6)]:
        model = Recurrent(rng, 6)
        found = beam_search(model.full, 2, 1, width, length, penalty)
        what = f"beam_search(beam_width={width}, max_length={length}, length_penalty={penalty})"
        expect(1 <= len(found) <= width, f"{what} should give 1 to {width} hypotheses, but gave {len(found)}")
        expect_equal(
            len({tuple(h.tokens) for h in found}), len(found), what=f"the number of distinct results of {what}"
        )
        scores = [h.score for h in found]
        expect_equal(scores, sorted(scores, reverse=True), what=f"the order of the scores of {what}", hint="best first")
        for tokens, score in found:
            generated = tokens[1:]
            expect_equal(tokens[0], 2, what="the first token", hint="tokens begin with start_token")
            expect(
                1 <= len(generated) <= length and 1 not in generated[:-1],
                f"at most {length} tokens should be generated and none after eos=1, but {tokens} came",
                hint="a hypothesis that ended in eos is set aside: it has no children",
            )
            expect(
                generated[-1] == 1 or len(generated) == length, f"{tokens} neither ends in eos nor is it full length"
            )
            rows = [model.full(torch.tensor([tokens[:n]]))[0] for n in range(1, len(tokens))]
            total = sum(float(row[token]) for row, token in zip(rows, generated, strict=True))
            right = math.isclose(score, total / len(generated) ** penalty, rel_tol=1e-5)
            expect(
                right,
                f"the score of {tokens} should be {total / len(generated) ** penalty:.6g}, but is {score:.6g}",
                hint="add log-probabilities; take each child's prefix and sum from its own parent",
            )


def test_the_first_eos_does_not_end_the_search():
    """Worked: eos at once has 0.4; token 0 and then eos has 0.59 x 0.9 = 0.531."""
    model = markov([[0.06, 0.90, 0.04], [0.3, 0.3, 0.4], [0.59, 0.40, 0.01]])
    expect_list(
        beam_search(model, 2, 1, beam_width=2, max_length=5),
        [([2, 0, 1], math.log(0.59 * 0.9)), ([2, 1], math.log(0.4))],
        what="a search where a later eos wins",
        hint="set the finished hypothesis aside and go on with the others",
    )


@pytest.mark.parametrize("penalty", [0.0, 1.0])
def test_a_cache_changes_nothing(rng, penalty):
    """Beam i of this step is rarely the child of beam i of the last: its cache must follow its parent."""
    for _ in range(5):
        model = Recurrent(rng, 6)
        full = beam_search(model.full, 0, 1, 4, 7, penalty)
        cached = beam_search_with_cache(model.step, 0, 1, 4, 7, penalty)
        expect_list(
            cached,
            full,
            what="beam_search_with_cache, compared with beam_search",
            hint="index every tensor of the cache by the parents of the beams that go on, in the same order",
        )


def test_a_wide_cached_beam_equals_brute_force(rng):
    """The search with a cache on its own feet."""
    model = Recurrent(rng, 3)
    expect_list(
        beam_search_with_cache(model.step, 0, 1, 81, 4),
        every_hypothesis(model.full, 3, 1, 4),
        what="all hypotheses, with a cache",
        hint="reorder the cache by parent: when beams finish, its rows move",
    )
