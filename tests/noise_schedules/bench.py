"""A schedule is made once a training; what counts is that it does not loop over the steps."""

import math
from functools import partial

import torch

from dojo.testing.bench import work


def step_by_step(steps):
    def signal(u):
        return math.cos((u + 0.008) / 1.008 * math.pi / 2) ** 2

    betas = [min(1 - signal((t + 1) / steps) / signal(t / steps), 0.999) for t in range(steps)]
    return torch.tensor(betas, dtype=torch.float64)


def diffusers_betas(steps):
    from diffusers.schedulers.scheduling_ddpm import betas_for_alpha_bar

    return partial(betas_for_alpha_bar, steps)


@work(steps=1000, sweep={"steps": (125, 250, 500, 2000)}, grows={"steps": 1}, tiny={"steps": 500})
def cosine(bench, steps):
    """The cosine schedule's betas."""
    bench.katas(lambda kata: partial(kata.cosine_betas, steps))
    bench.way("naive: step by step", partial(step_by_step, steps))
    bench.peer("diffusers", lambda: diffusers_betas(steps))
    bench.same(rtol=1e-4, atol=1e-7)  # diffusers' are float32
