"""GAE of 256 rows of 512 steps. The floor reads rewards, values and dones once, and writes advantages and returns."""

from functools import partial

import torch

from dojo.testing.bench import work


def doubling(rewards, values, dones, last_values, gamma, lam):
    """A scan that doubles its reach: log2(length) rounds over the whole batch."""
    following = torch.cat([values[:, 1:], last_values[:, None]], 1).masked_fill(dones, 0)
    sums = rewards + gamma * following - values
    factors, reach = torch.full_like(sums, gamma * lam).masked_fill(dones, 0), 1
    while reach < sums.shape[1]:
        head = sums[:, :-reach] + factors[:, :-reach] * sums[:, reach:]
        sums = torch.cat([head, sums[:, -reach:]], 1)
        factors = torch.cat([factors[:, :-reach] * factors[:, reach:], factors[:, -reach:]], 1)
        reach *= 2
    return sums, sums + values


@work(
    batch=256,
    length=512,
    sweep={"batch": (64, 128), "length": (128, 256)},
    grows={"batch": 1, "length": 1},
    tiny={"batch": 32, "length": 24},
    gpu={"batch": 4096, "length": 2048},
)
def estimates(bench, batch, length):
    """gae, at gamma=0.99 and lam=0.95."""
    rewards, values, last_values = bench.randn(batch, length), bench.randn(batch, length), bench.randn(batch)
    dones = bench.randint(50, batch, length) == 0
    given = rewards, values, dones, last_values, 0.99, 0.95
    bench.katas(lambda kata: partial(kata.gae, *given))
    bench.way("a scan that doubles", partial(doubling, *given))
    bench.same(rtol=1e-4, atol=1e-4)
    bench.floor(bytes=4 * rewards.nbytes + dones.nbytes)
