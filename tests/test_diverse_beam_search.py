"""What any right diverse beam search finds, whichever of the free conventions it follows. No input has ties."""

import math

import pytest
import torch

from dojo.testing import expect, expect_equal, expect_raises, randn
from katas.diverse_beam_search import diverse_beam_search

INF = float("inf")
LATE_WINNER = [  # [0, eos] and [0, 2, eos] are finished after two steps, and [0, 1, 3, eos] = 0.3105 beats both
    [0.0, 0.5, 0.2, 0.0, 0.3],
    [0.0, 0.0, 0.0, 0.69, 0.31],
    [0.02, 0.03, 0.05, 0.0, 0.9],
    [0.02, 0.03, 0.04, 0.01, 0.9],
    [0.2] * 5,
]
SLOW_WINNER = [  # a token of [0, 1, 3, 3, ...] costs less and less: its mean wins only after some steps
    [0.0, 0.27, 0.25, 0.0, 0.48],
    [0.12, 0.12, 0.36, 0.38, 0.02],
    [0.0, 0.01, 0.01, 0.0, 0.98],
    [0.005, 0.005, 0.005, 0.98, 0.005],
    [0.2] * 5,
]


def markov(rows):
    """A model whose next token depends only on the last one: probabilities, one row for each last token."""
    table = torch.tensor(rows, dtype=torch.float64).log()
    return lambda tokens: table[tokens[:, -1]]


def recurrent(rng, vocab, dtype=torch.float64, banned=()):
    """A model whose next token depends on every token before it."""
    embedding, recurrence, readout = randn(rng, vocab, 6), randn(rng, 6, 6), randn(rng, 6, vocab)

    def model(tokens):
        expect_equal([tokens.dim(), tokens.dtype], [2, torch.int64], what="the dimensions and dtype of the prefixes")
        state = torch.zeros(len(tokens), 6, dtype=torch.float64)
        for last in tokens.T:
            state = torch.tanh(state @ recurrence + embedding[last])
        logits = (state @ readout).index_fill(1, torch.tensor(banned, dtype=torch.int64), -INF)
        return logits.log_softmax(-1).to(dtype)

    return model


def every_hypothesis(model, vocab, eos, length, penalty=0.0, start=0):
    """All (tokens, score) that end in eos or are `length` long, best first."""
    prefixes, ended = [([start], 0.0)], []
    for steps in range(1, length + 1):
        longer = []
        for tokens, total in prefixes:
            row = model(torch.tensor([tokens]))[0].tolist()
            longer += [([*tokens, token], total + row[token]) for token in range(vocab)]
        ended += [(t, s / steps**penalty) for t, s in longer if t[-1] == eos or steps == length]
        prefixes = [(t, s) for t, s in longer if t[-1] != eos]
    return sorted(ended, key=lambda pair: -pair[1])


def expect_groups(found, expected, *, what, hint):
    """The same lists of (tokens, score), group by group; 1e-5 relative, as sums may be kept in float32."""
    expect_equal(len(found), len(expected), what=f"the number of lists of {what}", hint="one list for each group")
    expect(
        all(isinstance(group, list) for group in found), f"{what} should give one list for each group, but gave {found}"
    )
    for number, (group, wanted) in enumerate(zip(found, expected, strict=True)):
        expect_equal(len(group), len(wanted), what=f"the number of hypotheses in group {number} of {what}", hint=hint)
        for place, (hypothesis, (row, score)) in enumerate(zip(group, wanted, strict=True)):
            expect_equal(hypothesis.tokens, row, what=f"hypothesis {place} in group {number} of {what}", hint=hint)
            close = math.isclose(hypothesis.score, score, rel_tol=1e-5, abs_tol=1e-5)
            sentence = (
                f"the score of {row} in group {number} of {what} should be {score:.6g}, but is {hypothesis.score:.6g}"
            )
            expect(close, sentence, hint=hint)


# Stage 1: the choice of one step, groups in order


@pytest.mark.stage(1)
def test_each_group_avoids_what_earlier_groups_take_in_this_step():
    """Worked, strength 1, one beam a group. First step: group 0 takes 0; 0.6 / e < 0.4, so group 1 takes 1. Second step:
    group 0 takes 1, and 0.55 / e < 0.45, so group 1 takes 0 although group 0 had it a step before."""
    model = markov([[0.2, 0.8, 0.0, 0.0], [0.45, 0.55, 0.0, 0.0], [0.6, 0.4, 0.0, 0.0], [0.25] * 4])
    expect_groups(
        diverse_beam_search(model, 2, 3, 2, 2, groups=2, diversity=1.0),
        [[([2, 0, 1], math.log(0.48))], [([2, 1, 0], math.log(0.18))]],
        what="two groups of one beam",
        hint="subtract diversity x count from the log-probabilities; counts are of this step and this step only, and "
        "scores are reported without the penalty",
    )


@pytest.mark.stage(1)
def test_beams_are_counted_and_the_penalty_is_not_carried_along():
    """Worked, strength 1, two beams a group. After the first step group 0 has {0, 1} and group 1 has {2: 0.2, 0: 0.5 (0.5 / e
    when it was chosen)}. Then both beams of group 0 take token 0, which costs group 1 a factor e^2; of its children
    [0, 1] = 0.2, [2, 2] = 0.1, [2, 3] = 0.084 and [0, 0] = 0.3 / e^2 = 0.041 the first two stay."""
    model = markov(
        [[0.6, 0.4, 0, 0, 0], [0.9, 0.1, 0, 0, 0], [0.08, 0, 0.5, 0.42, 0], [0.5, 0.3, 0.2, 0, 0], [0.2] * 5]
    )
    expect_groups(
        diverse_beam_search(model, 3, 4, 4, 2, groups=2, diversity=1.0),
        [
            [([3, 0, 0], math.log(0.30)), ([3, 1, 0], math.log(0.27))],
            [([3, 0, 1], math.log(0.20)), ([3, 2, 2], math.log(0.10))],
        ],
        what="two groups of two beams",
        hint="a token that two beams took costs 2 x diversity; the penalty decides which children stay, and the sums that "
        "go into the next step hold log-probabilities alone",
    )


@pytest.mark.stage(1)
def test_one_beam_may_have_all_the_children_of_its_group():
    """Worked: the two best children, 0.6 x 0.5 and 0.6 x 0.4, are both of the first beam; the second's best is 0.14."""
    model = markov([[0.04, 0.60, 0.35, 0.01], [0.50, 0.40, 0.09, 0.01], [0.40, 0.35, 0.24, 0.01], [0.1, 0.2, 0.3, 0.4]])
    expect_groups(
        diverse_beam_search(model, 0, 3, 4, 2, groups=2, diversity=0.0),
        [[([0, 1, 0], math.log(0.30)), ([0, 1, 1], math.log(0.24))]] * 2,
        what="two groups where one beam has both of the best children",
        hint="rank the children of all beams of a group in one list: no beam has a share of places that is its own",
    )


@pytest.mark.stage(1)
@pytest.mark.parametrize("vocab", [2, 3])
def test_wide_groups_equal_brute_force_at_any_strength(rng, vocab):
    """With room for every prefix nothing is pruned, so a penalty that only chooses has nothing to choose."""
    model, everything = recurrent(rng, vocab), vocab**3
    expect_groups(
        diverse_beam_search(model, 0, 1, 2 * everything, 3, groups=2, diversity=0.7),
        [every_hypothesis(model, vocab, 1, 3)] * 2,
        what="two groups that hold everything",
        hint="finished and, at max_length, unfinished hypotheses compete by their unpenalised scores in each group",
    )


@pytest.mark.stage(1)
def test_without_strength_all_groups_search_alike(rng):
    """Strength 0 is `groups` times the same beam search of beam_width // groups beams."""
    for _ in range(3):
        model = recurrent(rng, 6)
        alone = diverse_beam_search(model, 0, 1, 3, 5, groups=1, diversity=0.0)
        expect_groups(
            diverse_beam_search(model, 0, 1, 9, 5, groups=3, diversity=0.0),
            alone * 3,
            what="three groups without diversity",
            hint="a group has beam_width // groups beams of its own, which compete among themselves only",
        )


@pytest.mark.stage(1)
@pytest.mark.parametrize("width", [1, 2])
def test_a_huge_strength_gives_different_first_tokens(rng, width):
    """In the first step no group can afford a token that another one has."""
    model = recurrent(rng, 9, banned=[1])
    found = diverse_beam_search(model, 0, 1, 3 * width, 4, groups=3, diversity=100.0)
    firsts = [{tokens[1] for tokens, _ in group} for group in found]
    distinct = len(set().union(*firsts)) == sum(map(len, firsts))
    hint = "count what every earlier group takes in this step, not only group 0 or the one just before"
    expect(distinct, f"the groups' first tokens should be pairwise different, but are {firsts}", hint=hint)


@pytest.mark.stage(1)
def test_the_first_group_is_never_penalised(rng):
    """Group 0 is the plain beam search, whatever the strength."""
    model = recurrent(rng, 6, banned=[1])
    plain = diverse_beam_search(model, 0, 1, 2, 5, groups=1, diversity=0.0)
    expect_groups(
        diverse_beam_search(model, 0, 1, 6, 5, groups=3, diversity=3.0)[:1],
        plain,
        what="a search at diversity=3, compared with one plain group",
        hint="only earlier groups of the same step count: for group 0 there is none",
    )


# Stage 2: more groups, early ends, length penalty, bad values


@pytest.mark.stage(2)
def test_all_earlier_groups_count():
    """Worked, one step at strength 1, probabilities 0.5, 0.3 and 0.2: the groups take 0, 1, 2, then 0 again, all
    being penalised once, and then 1: a token that two groups took costs twice the penalty."""
    model = markov([[0.5, 0.3, 0.2, 0.0]] * 4)
    expect_groups(
        diverse_beam_search(model, 0, 3, 5, 1, groups=5, diversity=1.0),
        [[([0, token], math.log(p))] for token, p in [(0, 0.5), (1, 0.3), (2, 0.2), (0, 0.5), (1, 0.3)]],
        what="one step of five groups",
        hint="the count runs over all earlier groups, and the penalty over the count; scores are reported without it",
    )


@pytest.mark.stage(2)
def test_later_groups_do_not_change_earlier_ones(rng):
    """The groups choose in order, so a search with more groups of the same size begins with the same lists."""
    model = recurrent(rng, 7, banned=[1])
    few = diverse_beam_search(model, 0, 1, 4, 5, groups=2, diversity=0.8)
    expect_groups(
        diverse_beam_search(model, 0, 1, 8, 5, groups=4, diversity=0.8)[:2],
        few,
        what="four groups, compared with two",
        hint="count groups 0 .. g-1 only, and start the counts anew in each step",
    )


@pytest.mark.stage(2)
def test_a_finished_group_neither_ends_the_others_nor_counts_on():
    """Worked: group 0 has [0, eos] after two steps and is done; group 1 goes 1, 2, eos, and may use eos in step three."""
    model = markov([[0, 0, 0, 0, 1.0], [0, 0, 0.9, 0.1, 0], [0, 0, 0.1, 0, 0.9], [0.6, 0.4, 0, 0, 0], [0.2] * 5])
    expect_groups(
        diverse_beam_search(model, 3, 4, 2, 6, groups=2, diversity=100.0),
        [[([3, 0, 4], math.log(0.6))], [([3, 1, 2, 4], math.log(0.4 * 0.9 * 0.9))]],
        what="two groups that finish at different times",
        hint="each group ends on its own; a hypothesis that has finished takes no token in later steps",
    )


@pytest.mark.stage(2)
@pytest.mark.parametrize("penalty", [1.0, 2.5, -1.0])
def test_any_length_penalty_equals_brute_force(rng, penalty):
    """score = sum / (generated tokens) ** length_penalty, eos included and the start token not."""
    model = recurrent(rng, 3)
    expect_groups(
        diverse_beam_search(model, 2, 1, 54, 3, groups=2, diversity=0.4, length_penalty=penalty),
        [every_hypothesis(model, 3, 1, 3, penalty, start=2)] * 2,
        what=f"two groups that hold everything at length_penalty={penalty}",
        hint="divide the whole unpenalised sum once, by (generated tokens) ** length_penalty",
    )


@pytest.mark.stage(2)
def test_the_length_penalty_has_no_part_in_the_choice():
    """Worked, strength 1, one beam a group. In the second step token 1 has 0.8 and token 0 has 0.2; group 0 takes 1, and
    as 0.8 / e > 0.2, group 1 takes it as well. Halved sums would let it take 0: as if the strength were 2."""
    model = markov([[0.2, 0.8, 0.0, 0.0], [0.2, 0.8, 0.0, 0.0], [0.6, 0.4, 0.0, 0.0], [0.25] * 4])
    expect_groups(
        diverse_beam_search(model, 2, 3, 2, 2, groups=2, diversity=1.0, length_penalty=1.0),
        [[([2, 0, 1], math.log(0.48) / 2)], [([2, 1, 1], math.log(0.32) / 2)]],
        what="two groups of one beam at length_penalty=1",
        hint="choose by sum - diversity x count; divide by the length only where scores are compared",
    )


@pytest.mark.stage(2)
@pytest.mark.parametrize(
    ("rows", "penalty", "best", "score"),
    [
        (LATE_WINNER, 0.0, [0, 1, 3, 4], math.log(0.5 * 0.69 * 0.9)),
        (SLOW_WINNER, 1.0, [0, 1, 3, 3, 3, 3], (math.log(0.1026) + 3 * math.log(0.98)) / 5),
    ],
    ids=["late winner", "slow winner"],
)
def test_no_group_gives_up_too_early(rows, penalty, best, score):
    """A group whose list is full goes on while a running hypothesis can still enter it."""
    found = diverse_beam_search(markov(rows), 0, 4, 4, 5, groups=2, diversity=0.0, length_penalty=penalty)
    expect_groups(
        [group[:1] for group in found],
        [[(best, score)]] * 2,
        what="the best of each group",
        hint="stop a group when no running sum / max_length ** penalty (for a positive penalty) beats its worst finished one",
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
    expect_groups(
        diverse_beam_search(model, 0, 4, 4, length, groups=2, diversity=0.0, length_penalty=penalty),
        [[([0, 4], math.log(first[4])), (tokens, score)]] * 2,
        what=f"two groups of two beams at length_penalty={penalty:g}",
        hint="compare the worst of a group's list with the best score that a running hypothesis can reach: with a penalty of "
        "0 or below a longer one only gets worse, so that is its score now",
    )


@pytest.mark.stage(2)
def test_a_start_token_that_is_also_eos_finishes_nothing(rng):
    """BART starts its decoder with eos. A group of 9 beams is wider than the vocabulary."""
    model = recurrent(rng, 3)
    expect_groups(
        diverse_beam_search(model, 1, 1, 18, 2, groups=2, diversity=1.0),
        [every_hypothesis(model, 3, 1, 2, start=1)] * 2,
        what="a search with start_token == eos_token",
        hint="only a generated eos finishes a hypothesis; ask for no more candidates than there are",
    )


@pytest.mark.stage(2)
@pytest.mark.parametrize(
    "wrong",
    [
        {"groups": 3},
        {"groups": 8},
        {"groups": 0},
        {"groups": -2},
        {"beam_width": 0},
        {"beam_width": -2},
        {"max_length": 0},
        {"max_length": -1},
        {"diversity": -0.1},
        {"diversity": INF},
        {"diversity": float("nan")},
    ],
    ids=str,
)
def test_bad_values_are_errors(wrong):
    """Groups of unequal size, groups without beams, and a penalty that is a reward (or inf x 0 = NaN)."""
    arguments = {"beam_width": 4, "max_length": 2, "groups": 2, "diversity": 0.5} | wrong
    with expect_raises(ValueError, what=f"diverse_beam_search({wrong})"):
        diverse_beam_search(markov([[0.5, 0.3, 0.2]] * 3), 0, 1, **arguments)


# Stage 3: banned tokens, half precision


@pytest.mark.stage(3)
def test_a_banned_token_is_no_way_out():
    """One token is possible, so all groups take it, however much the penalty is; its score is log 1 = 0."""
    model = markov([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [0.0, 0.0, 0.0]])
    expect_groups(
        diverse_beam_search(model, 0, 2, 4, 4, groups=2, diversity=50.0),
        [[([0, 1, 2], 0.0)]] * 2,
        what="a search with one possible hypothesis",
        hint="drop candidates whose sum is -inf; a penalised token is still possible",
    )


@pytest.mark.stage(3)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
def test_sums_are_wider_than_half_precision(rng, dtype):
    """40 log-probabilities of about -2 reach -80, where bfloat16 has steps of 0.5 and float16 of 0.06."""
    model = recurrent(rng, 8, dtype, banned=[1])
    found = diverse_beam_search(model, 0, 1, 2, 40, groups=2, diversity=0.5)
    for number, group in enumerate(found):
        tokens, score = group[0]
        rows = [model(torch.tensor([tokens[:n]]))[0] for n in range(1, len(tokens))]
        total = sum(float(row[token]) for row, token in zip(rows, tokens[1:], strict=True))
        expect(
            math.isclose(score, total, rel_tol=1e-5),
            f"the score in group {number} should be the sum of its 40 {dtype} log-probabilities, {total:.6g}, but is {score:.6g}",
            hint="convert to float32 or float64 before you add up, and report sums without the penalty",
        )
        expect_equal([type(score), type(tokens[-1])], [float, int], what="the types of a score and of a token")


# Stage 4: cost


@pytest.mark.stage(4)
def test_the_model_is_called_once_per_step_for_all_groups(rng):
    """The groups only choose one after the other; what they choose from can be computed in one batch."""
    model, shapes = recurrent(rng, 9, banned=[1]), []

    def counted(tokens):
        shapes.append(list(tokens.shape))
        return model(tokens)

    diverse_beam_search(counted, 0, 1, 6, 5, groups=3, diversity=0.5)
    expect_equal(
        [length for _, length in shapes],
        [1, 2, 3, 4, 5],
        what="the lengths of the prefixes, call by call",
        hint="put the beams of all groups into one batch and split the result",
    )
    rows = [n for n, _ in shapes]
    expect(1 <= min(rows) and max(rows) <= 6, f"each call should have 1 to 6 rows at beam_width=6, but they had {rows}")


@pytest.mark.stage(4)
def test_the_search_stops_when_nothing_can_change():
    """eos has 0.9 after every token: the lists are settled after a few steps. Going on to max_length=50 finds the same."""
    model, calls = markov([[0.06, 0.9, 0.04]] * 3), []

    def counted(tokens):
        calls.append(len(tokens))
        return model(tokens)

    found = diverse_beam_search(counted, 0, 1, 4, 50, groups=2, diversity=0.0)
    expected = [([0, 1], math.log(0.9)), ([0, 0, 1], math.log(0.054))]
    expect_groups(found, [expected] * 2, what="a search that ends early", hint="set eos hypotheses aside")
    hint = "a group is done once its list is full and its worst score is at least what its best running sum can become"
    expect(len(calls) <= 5, f"at most 5 steps should be needed, but the model was called {len(calls)} times", hint=hint)
    found = diverse_beam_search(model, 0, 1, 2, 50, groups=2, diversity=0.0, length_penalty=-1.0)
    expect_groups(
        found, [expected[:1]] * 2, what="two groups of one beam at length_penalty=-1", hint="0.9 at once wins"
    )
