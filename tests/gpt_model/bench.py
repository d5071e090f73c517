"""A GPT of 12 layers and a small vocabulary in training: forward and loss. The floor is the FLOPs of its matrices."""

import torch
from torch.nn import functional as F

from dojo.testing.bench import work

LAYERS, HEADS, DIM, VOCAB = 12, 6, 384, 8192


def over_prefixes(model, tokens):
    """The loss of each token from a forward pass over what comes before it."""
    losses = [F.cross_entropy(model(tokens[:, :t])[:, -1], tokens[:, t]) for t in range(1, tokens.shape[1])]
    return torch.stack(losses).mean()


def lossless(run, *inputs):
    def without_graph():
        with torch.no_grad():
            return run(*inputs)

    return without_graph


@work(
    batch=4,
    tokens=256,
    sweep={"batch": (1, 8), "tokens": (64, 512)},
    grows={"batch": 1},
    tiny={"batch": 2, "tokens": 16},
    counts="flops",
    gpu={"batch": 32, "tokens": 1024},
)
def loss(bench, batch, tokens):
    """Forward and the loss of all next tokens, without the backward pass."""
    text = torch.randint(0, VOCAB, (batch, tokens), generator=torch.Generator().manual_seed(0)).to(bench.device)
    sizes = {"vocab": VOCAB, "max_length": tokens, "layers": LAYERS, "heads": HEADS, "dim": DIM}
    first = next(iter(bench.implementations.values()))
    state = first.GPT(first.GPTConfig(**sizes)).state_dict()

    def of(module):
        model = module.GPT(module.GPTConfig(**sizes))
        model.load_state_dict(state)
        return lossless(model.to(bench.device).eval().loss, text)

    bench.katas(of)
    model = first.GPT(first.GPTConfig(**sizes)).to(bench.device).eval()
    model.load_state_dict(state)
    bench.way("naive: prefix by prefix", lossless(over_prefixes, model, text))
    bench.same(rtol=1e-3, atol=1e-4)
    bench.floor(flops=batch * (LAYERS * (24 * tokens * DIM**2 + 4 * tokens**2 * DIM) + 2 * tokens * DIM * VOCAB))
