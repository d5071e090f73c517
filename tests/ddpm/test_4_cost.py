"""Stage 4. Cost."""

import torch

from dojo.testing import expect, expect_equal, expect_operators, expect_traffic, randint, randn
from dojo.testing.diffusion import no_noise, recording
from katas.ddpm import p_sample, p_sample_loop, q_posterior, q_sample

from .helpers import schedule


def test_step_calls_the_model_once_with_the_whole_batch(rng):
    """The model is all of the cost: calling it for each element, or twice, is the slowest mistake there is."""
    betas, x, t = schedule(6)[0], randn(rng, 5, 3, 2), torch.tensor([0, 5, 2, 2, 1])
    model, calls = recording(no_noise)
    p_sample(model, x, t, betas)
    expect_equal(len(calls), 1, what="the number of eps_model's calls in one p_sample", hint="keep its result")
    expect_equal(calls[0][0], x, what="the x that eps_model is given", hint="the model sees x_t as it is")
    expect_equal(calls[0][1], t, what="the t that eps_model is given", hint="the model sees the whole t, as integers")


def test_q_sample_moves_a_few_times_the_bytes_of_x(rng, cost):
    """Two products and a sum move 7x the bytes of x; detours through float64 or a stack of rows stay under 32x.
    A result for all steps, of which one is picked, moves 1000x and more."""
    abar = schedule(1000, 1e-4, 0.02)[1]
    x, noise = randn(rng, 2, 4, 3, 64, 64, dtype=torch.float32)
    t = randint(rng, 0, 1000, 4)
    with cost() as spent:
        q_sample(x, t, noise, abar)
    hint = "pick the coefficients of each element's own step first, then touch x once"
    expect_traffic(spent, x, 32, what="q_sample", of="x", hint=hint)


def test_step_does_not_redo_the_schedule_for_every_element(rng, cost):
    """A few passes over the 4000 steps are nothing; a [batch, steps] table, or one product for each element, moves
    batch x steps numbers. The limit is 128 passes over the schedule and 100 over x, for a batch of 512."""
    betas, x, t = schedule(4000, 1e-5, 0.004)[0], randn(rng, 512), randint(rng, 3996, 4000, 512)
    limit = 128 * betas.nbytes + 100 * x.nbytes
    for what, call in {
        "q_posterior": lambda: q_posterior(x, x, t, betas),
        "p_sample": lambda: p_sample(no_noise, x, t, betas),
    }.items():
        with cost() as spent:
            call()
        expect(spent.bytes >= x.nbytes, f"torch operators should do {what}'s work, but they saw {spent.bytes} bytes")
        expect(
            spent.bytes <= limit,
            f"{what} for 512 elements and 4000 steps should move at most {limit} bytes, but moved {spent.bytes}",
            hint="one cumulative product over [steps], then index it with t",
        )


def test_work_of_the_loop_grows_linearly_with_the_steps(cost):
    """Five times the steps are five times the work: one model call and a bounded number of operators for each of them.
    The last step may do without its noise, so 5.6 times are allowed. A step that does something for all steps before it
    takes more, also where that is only a 150th part of its other work for each."""
    operators = {}
    for steps in (5, 25):
        model, calls = recording(no_noise)
        with cost() as spent:
            p_sample_loop(model, (2, 3), schedule(steps, 1e-3, 0.1)[0])
        expect_equal(len(calls), steps, what=f"the number of model calls for {steps} steps")
        operators[steps] = spent
    few, many = operators.values()
    sentence = f"25 steps should take about five times the operators of 5 ({few.operators}), but take {many.operators}"
    hint = "does each step rebuild something for all the steps before it?"
    expect(many.operators <= 5.6 * few.operators, sentence, hint=hint)
    for steps, spent in operators.items():
        hint = "work on the whole batch at once"
        expect_operators(spent, 200 * steps, what=f"p_sample_loop of {steps} steps", hint=hint, least=2 * steps)
