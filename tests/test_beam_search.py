"""What any right beam search finds, whether it keeps W or 2W candidates. No input has ties."""

import math

import pytest
import torch

from dojo.testing import expect, expect_equal, expect_raises, randn
from katas.beam_search import beam_search, beam_search_with_cache

INF = float("inf")


def markov(rows):
    """A model whose next token depends only on the last one: probabilities, one row for each last token."""
    table = torch.tensor(rows, dtype=torch.float64).log()
    return lambda tokens: table[tokens[:, -1]]


class Recurrent:
    """A model whose next token depends on every token before it; its cache is nested, as real ones are."""

    def __init__(self, rng, vocab, dtype=torch.float64):
        self.embedding, self.readout = randn(rng, vocab, 6), randn(rng, 6, vocab)
        self.recurrence, self.dtype = randn(rng, 6, 6), dtype

    def step(self, last, cache):
        expect_equal([last.dim(), last.dtype], [1, torch.int64], what="the dimensions and dtype of last_tokens")
        state = torch.zeros(len(last), 6, dtype=torch.float64)
        if cache is not None:
            leaves = [cache["layers"][0][0], cache["layers"][1]]
            expect_equal(
                [len(leaf) for leaf in leaves],
                [len(last)] * 2,
                what="the rows of the cache's tensors",
                hint="reorder every tensor of the cache by the parents: one row for each beam that goes on",
            )
            state = torch.cat([leaves[0].flatten(1), leaves[1]], 1)
        state = torch.tanh(state @ self.recurrence + self.embedding[last])
        log_probs = (state @ self.readout).log_softmax(-1).to(self.dtype)
        return log_probs, {"layers": [(state[:, :4].reshape(-1, 2, 2),), state[:, 4:]]}

    def full(self, tokens):
        cache = None
        for last in tokens.T:
            log_probs, cache = self.step(last, cache)
        return log_probs


def every_hypothesis(model, vocab, eos, length, penalty=0.0, start=0):
    """All (tokens, score) that end in eos or are `length` long, best first."""
    prefixes, ended = [([start], 0.0)], []
    for steps in range(1, length + 1):
        longer = []
        for tokens, total in prefixes:
            row = model(torch.tensor([tokens]))[0].tolist()
            longer += [([*tokens, token], total + row[token]) for token in range(vocab) if row[token] > -INF]
        ended += [(t, s / steps**penalty) for t, s in longer if t[-1] == eos or steps == length]
        prefixes = [(t, s) for t, s in longer if t[-1] != eos]
    return sorted(ended, key=lambda pair: -pair[1])


def expect_list(found, expected, *, what, hint):
    """The same hypotheses in the same order, with close scores. `expected` holds (tokens, score)."""
    for number, (tokens, score) in enumerate(expected):
        actual = found[number].tokens if number < len(found) else None
        expect_equal(actual, tokens, what=f"hypothesis {number} of {what}", hint=hint)
        expect_score(found[number], score, what=f"the score of {tokens} in {what}", hint=hint)
    expect_equal(len(found), len(expected), what=f"the number of hypotheses of {what}", hint=hint)


def expect_score(hypothesis, score, *, what, hint):
    """1e-5 relative: sums may be kept in float32."""
    right = math.isclose(hypothesis.score, score, rel_tol=1e-5, abs_tol=1e-5)
    expect(right, f"{what} should be {score:.6g}, but is {hypothesis.score:.6g}", hint=hint)


# Stage 1: the search and the cache


@pytest.mark.stage(1)
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


@pytest.mark.stage(1)
def test_one_beam_may_have_all_the_children():
    """Worked: the two best children, 0.6 x 0.5 and 0.6 x 0.4, are both of the first beam; the second's best is 0.14."""
    model = markov([[0.04, 0.60, 0.35, 0.01], [0.50, 0.40, 0.09, 0.01], [0.40, 0.35, 0.24, 0.01], [0.1, 0.2, 0.3, 0.4]])
    expect_list(
        beam_search(model, 0, 3, beam_width=2, max_length=2),
        [([0, 1, 0], math.log(0.30)), ([0, 1, 1], math.log(0.24))],
        what="a search where one beam has both of the best children",
        hint="rank the children of all beams in one list: no beam has a share of places that is its own",
    )


@pytest.mark.stage(1)
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


@pytest.mark.stage(1)
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


@pytest.mark.stage(1)
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


@pytest.mark.stage(1)
def test_the_first_eos_does_not_end_the_search():
    """Worked: eos at once has 0.4; token 0 and then eos has 0.59 x 0.9 = 0.531."""
    model = markov([[0.06, 0.90, 0.04], [0.3, 0.3, 0.4], [0.59, 0.40, 0.01]])
    expect_list(
        beam_search(model, 2, 1, beam_width=2, max_length=5),
        [([2, 0, 1], math.log(0.59 * 0.9)), ([2, 1], math.log(0.4))],
        what="a search where a later eos wins",
        hint="set the finished hypothesis aside and go on with the others",
    )


@pytest.mark.stage(1)
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


@pytest.mark.stage(1)
def test_a_wide_cached_beam_equals_brute_force(rng):
    """The search with a cache on its own feet."""
    model = Recurrent(rng, 3)
    expect_list(
        beam_search_with_cache(model.step, 0, 1, 81, 4),
        every_hypothesis(model.full, 3, 1, 4),
        what="all hypotheses, with a cache",
        hint="reorder the cache by parent: when beams finish, its rows move",
    )


# Stage 2: length penalty, early ends, limits, bad values


@pytest.mark.stage(2)
def test_the_length_penalty_chooses_another_winner():
    """Worked: log 0.5 = -0.69 for eos at once; log(0.49 x 0.8) = -0.94 for two tokens, which is -0.47 a token."""
    model = markov([[0.15, 0.80, 0.05], [0.3, 0.3, 0.4], [0.49, 0.50, 0.01]])
    short, long = ([2, 1], math.log(0.5)), ([2, 0, 1], math.log(0.49 * 0.8))
    hint = "sum / (generated tokens) ** length_penalty: eos counts, the start token does not"
    expect_list(beam_search(model, 2, 1, 2, 6), [short, long], what="a search without penalty", hint=hint)
    halved = [(long[0], long[1] / 2), short]
    expect_list(beam_search(model, 2, 1, 2, 2, 1.0), halved, what="a search with length_penalty=1", hint=hint)


@pytest.mark.stage(2)
@pytest.mark.parametrize("penalty", [0.5, 1.0, 2.5, -1.0])
def test_any_length_penalty_equals_brute_force(rng, penalty):
    """The penalty changes the order, never the sums; a negative one favours short hypotheses."""
    model = Recurrent(rng, 3)
    hint = "divide the whole sum once, by (generated tokens) ** length_penalty; keep adding to the undivided sum"
    expected = every_hypothesis(model.full, 3, 1, 4, penalty)
    what = f"all hypotheses at length_penalty={penalty}"
    expect_list(beam_search(model.full, 0, 1, 81, 4, penalty), expected, what=what, hint=hint)
    expect_list(beam_search_with_cache(model.step, 0, 1, 81, 4, penalty), expected, what=f"{what}, cached", hint=hint)


@pytest.mark.stage(2)
def test_enough_finished_hypotheses_are_no_reason_to_stop():
    """Two beams. After two steps [0, eos] = 0.3 and perhaps [0, 2, eos] = 0.18 are finished, but [0, 1, 3] = 0.35 runs on
    and ends with 0.3105 in first place."""
    model = markov(
        [
            [0.0, 0.5, 0.2, 0.0, 0.3],
            [0.0, 0.0, 0.0, 0.69, 0.31],
            [0.02, 0.03, 0.05, 0.0, 0.9],
            [0.02, 0.03, 0.04, 0.01, 0.9],
            [0.2] * 5,
        ]
    )
    expect_list(
        beam_search(model, 0, 4, 2, 6)[:1],
        [([0, 1, 3, 4], math.log(0.5 * 0.69 * 0.9))],
        what="the best of two beams",
        hint="stop when no running sum can still beat the worst of the list, not when beam_width hypotheses are finished",
    )


@pytest.mark.stage(2)
def test_a_running_hypothesis_may_still_grow_into_its_length():
    """At length_penalty=1, [0, 1, 3] has -1.14 a token after two steps, and can have no more than -0.76 after three, behind
    two finished ones with -0.70 and -0.73; but nearly certain tokens bring its mean up to -0.47 in the end."""
    model = markov(
        [
            [0.0, 0.27, 0.25, 0.0, 0.48],
            [0.12, 0.12, 0.36, 0.38, 0.02],
            [0.0, 0.01, 0.01, 0.0, 0.98],
            [0.005, 0.005, 0.005, 0.98, 0.005],
            [0.2] * 5,
        ]
    )
    expect_list(
        beam_search(model, 0, 4, 2, 5, 1.0)[:1],
        [([0, 1, 3, 3, 3, 3], (math.log(0.1026) + 3 * math.log(0.98)) / 5)],
        what="the best of two beams at length_penalty=1",
        hint="the best score a running hypothesis can reach is its sum / max_length ** penalty, not / its present "
        "length, nor / the next",
    )


@pytest.mark.stage(2)
@pytest.mark.parametrize(
    ("first", "second", "penalty", "length", "tokens", "score"),
    [
        ([0.0, 0.5, 0.18, 0.0, 0.32], [0.1, 0.0, 0.0, 0.6, 0.3], 0.0, 8, [0, 1, 3, 4], math.log(0.27)),
        ([0.0, 0.5, 0.20, 0.0, 0.30], [0.05, 0.0, 0.0, 0.9, 0.05], -1.0, 8, [0, 1, 3, 4], math.log(0.405) * 3),
        ([0.0, 0.385, 0.305, 0.0, 0.31], [0.0, 0.0, 0.0, 0.995, 0.005], -1.0, 2, [0, 1, 3], math.log(0.383075) * 2),
    ],
    ids=["penalty 0", "penalty -1", "unfinished"],
)
def test_the_second_place_is_settled_too(first, second, penalty, length, tokens, score):
    """[0, eos] has won after two steps and [0, 2, eos] is finished as well, but [0, 1, 3, ...], which
    still runs, comes in before that one, with its eos or unfinished at max_length."""
    model = markov([first, second, [0.01, 0.01, 0.01, 0.0, 0.97], [0.03, 0.03, 0.03, 0.01, 0.9], [0.2] * 5])
    expect_list(
        beam_search(model, 0, 4, 2, length, penalty),
        [([0, 4], math.log(first[4])), (tokens, score)],
        what=f"two beams at length_penalty={penalty:g}",
        hint="compare the worst of the list with the best score that a running hypothesis can reach: with a penalty of 0 or "
        "below a longer one only gets worse, so that is its score now",
    )


@pytest.mark.stage(2)
def test_unfinished_hypotheses_compete_at_max_length():
    """Worked: 0.7 x 0.9 = 0.63 without eos beats 0.25 and all else that has one."""
    model = markov([[0.9, 0.06, 0.04], [0.3, 0.3, 0.4], [0.70, 0.25, 0.05]])
    expect_list(
        beam_search(model, 2, 1, beam_width=2, max_length=2),
        [([2, 0, 0], math.log(0.63)), ([2, 1], math.log(0.25))],
        what="a search whose best hypothesis is unfinished",
        hint="add what still runs after max_length generated tokens to the finished ones, then sort",
    )


@pytest.mark.stage(2)
@pytest.mark.parametrize("width", [3, 4, 7])
def test_one_step_gives_the_best_tokens(rng, width):
    """max_length 1: the list is the vocabulary by probability, eos among the others; a width of 7 exceeds it."""
    model = Recurrent(rng, 4)
    expect_list(
        beam_search(model.full, 0, 1, width, 1),
        every_hypothesis(model.full, 4, 1, 1)[:width],
        what=f"one step of {width} beams over 4 tokens",
        hint="start from a single beam (the others would be copies of it), and ask for no more candidates than there are",
    )


@pytest.mark.stage(2)
def test_a_start_token_that_is_also_eos_finishes_nothing(rng):
    """BART starts its decoder with eos."""
    model = Recurrent(rng, 3)
    expect_list(
        beam_search(model.full, 1, 1, 27, 3),
        every_hypothesis(model.full, 3, 1, 3, start=1),
        what="a search with start_token == eos_token",
        hint="only a generated eos finishes a hypothesis",
    )


@pytest.mark.stage(2)
@pytest.mark.parametrize(
    "wrong", [{"beam_width": 0}, {"beam_width": -2}, {"max_length": 0}, {"max_length": -1}], ids=str
)
def test_bad_sizes_are_errors(wrong):
    """No beam and no step are no search."""
    arguments = {"beam_width": 2, "max_length": 3} | wrong
    model = markov([[0.5, 0.3, 0.2]] * 3)
    with expect_raises(ValueError, what=f"beam_search({wrong})"):
        beam_search(model, 0, 1, **arguments)
    with expect_raises(ValueError, what=f"beam_search_with_cache({wrong})"):
        beam_search_with_cache(lambda last, cache: (model(last[:, None]), last), 0, 1, **arguments)


# Stage 3: banned tokens, half precision


@pytest.mark.stage(3)
def test_a_banned_token_is_never_generated():
    """-inf means impossible, also when fewer candidates than beams are left."""
    model = markov([[0.0, 0.6, 0.4], [0.0, 0.0, 1.0], [0.0, 0.0, 0.0]])
    expect_list(
        beam_search(model, 0, 2, beam_width=4, max_length=3),
        [([0, 1, 2], math.log(0.6)), ([0, 2], math.log(0.4))],
        what="a search where only two hypotheses are possible",
        hint="drop candidates whose sum is -inf; when nothing runs any more, stop",
    )


@pytest.mark.stage(3)
def test_the_list_without_eos_is_the_best_sequences(rng):
    """A fixed-length search: eos is impossible, so every hypothesis has max_length tokens."""
    model = Recurrent(rng, 4)

    def without_eos(tokens):
        return model.full(tokens).index_fill(1, torch.tensor([1]), -INF)

    expect_list(
        beam_search(without_eos, 0, 1, 64, 3),
        every_hypothesis(without_eos, 4, 1, 3),
        what="all sequences of length 3",
        hint="without eos nothing finishes early: the running hypotheses are the result",
    )


@pytest.mark.stage(3)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
def test_sums_are_wider_than_half_precision(rng, dtype):
    """40 log-probabilities of about -2 reach -80, where bfloat16 has steps of 0.5 and float16 of 0.06."""
    model = Recurrent(rng, 8, dtype)

    def endless(last, cache):
        log_probs, cache = model.step(last, cache)
        return log_probs.index_fill(1, torch.tensor([1]), -INF), cache

    best = beam_search_with_cache(endless, 0, 1, 3, 40)[0]
    cache, total = None, 0.0
    for last, token in zip(best.tokens[:-1], best.tokens[1:], strict=True):
        log_probs, cache = endless(torch.tensor([last]), cache)
        total += float(log_probs[0, token])
    hint = "convert the log-probabilities to float32 or float64 before you add them up"
    expect_score(best, total, what=f"the score of 40 {dtype} log-probabilities", hint=hint)


@pytest.mark.stage(3)
def test_results_are_plain_python(rng):
    """Hypotheses go into JSON and into dict keys: no tensors."""
    best = beam_search(Recurrent(rng, 4).full, 0, 1, 3, 4)[0]
    expect_equal({type(token) for token in best.tokens}, {int}, what="the types of the tokens", hint="use .tolist()")
    expect_equal(type(best.score), float, what="the type of the score", hint="use .item() or .tolist()")


# Stage 4: cost


@pytest.mark.stage(4)
def test_the_model_is_called_once_per_step_for_all_beams(rng):
    """The model is what decoding costs: a call for each beam makes it beam_width times as slow."""
    model, shapes, steps = Recurrent(rng, 9), [], []

    def full(tokens):
        shapes.append(list(tokens.shape))
        return model.full(tokens)

    def step(last, cache):
        steps.append((len(last), cache is None))
        return model.step(last, cache)

    beam_search(full, 0, 1, 4, 6)
    beam_search_with_cache(step, 0, 1, 4, 6)
    lengths = [length for _, length in shapes]
    expect_equal(
        lengths,
        list(range(1, len(shapes) + 1)),
        what="the lengths of the prefixes, call by call",
        hint="one call per step, with all beams in one batch",
    )
    expect(len(shapes) <= 6 and len(steps) <= 6, f"6 steps need at most 6 calls, but took {len(shapes)}, {len(steps)}")
    rows = [n for n, _ in shapes] + [n for n, _ in steps]
    expect(1 <= min(rows) and max(rows) <= 4, f"each call should have 1 to 4 rows at beam_width=4, but they had {rows}")
    expect_equal(
        [first for _, first in steps],
        [True] + [False] * (len(steps) - 1),
        what="whether cache is None, call by call",
        hint="the first call gets None, and every later one the cache that the model returned",
    )


@pytest.mark.stage(4)
def test_the_search_stops_when_nothing_can_change():
    """eos has 0.9 after every token: after a few steps two hypotheses are finished and no sum can catch up. Running on to
    max_length=50 is right and costs ten times as much."""
    model, calls = markov([[0.06, 0.9, 0.04]] * 3), []

    def counted(tokens):
        calls.append(len(tokens))
        return model(tokens)

    found = beam_search(counted, 0, 1, 2, 50)
    expect_list(
        found,
        [([0, 1], math.log(0.9)), ([0, 0, 1], math.log(0.054))],
        what="a search that ends early",
        hint="set eos hypotheses aside and keep the best",
    )
    hint = "stop once the list is full and its worst score is at least what the best running sum can become"
    expect(len(calls) <= 5, f"at most 5 steps should be needed, but the model was called {len(calls)} times", hint=hint)
    calls.clear()
    beam_search(lambda tokens: counted(tokens).masked_fill(torch.arange(3) != 1, -INF), 0, 1, 2, 50)
    hint = "when every hypothesis is finished, nothing is left to run"
    expect_equal(len(calls), 1, what="the number of calls when only eos is possible", hint=hint)
