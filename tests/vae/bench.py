"""The KL of latents: its floor reads mean and logvar once."""

from functools import partial

import torch

from dojo.testing.bench import work


def latent_by_latent(mean, logvar):
    rows = zip(mean.flatten(1).unbind(1), logvar.flatten(1).unbind(1), strict=True)
    return sum((m * m + v.exp() - 1 - v) / 2 for m, v in rows)


def distributions(mean, logvar):
    q = torch.distributions.Normal(mean, (logvar / 2).exp())
    return torch.distributions.kl_divergence(q, torch.distributions.Normal(0.0, 1.0)).flatten(1).sum(1)


@work(
    batch=16,
    side=32,
    sweep={"batch": (4, 64), "side": (16, 64)},
    grows={"batch": 1, "side": 2},
    tiny={"batch": 4, "side": 16},
)
def kl(bench, batch, side):
    """kl_to_standard_normal of latents with four channels."""
    mean, logvar = bench.randn(batch, 4, side, side), bench.randn(batch, 4, side, side)
    bench.katas(lambda kata: partial(kata.kl_to_standard_normal, mean, logvar))
    bench.adapted("diffusers", lambda kata: partial(kata.kl_to_standard_normal, mean, logvar))
    bench.way("naive: latent by latent", partial(latent_by_latent, mean, logvar))
    bench.way("torch: distributions", partial(distributions, mean, logvar))
    bench.same(rtol=1e-4, atol=1e-3)
    bench.floor(bytes=2 * mean.nbytes)
