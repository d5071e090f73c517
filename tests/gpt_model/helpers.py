"""Models whose weights are set by hand, with and without their blocks, and what their parts are given."""

from contextlib import contextmanager

import torch
from torch import nn

from dojo.testing import expect_equal, randint, randn
from dojo.testing.describe import describe
from dojo.testing.modules import expect_parameters, fill_at_random
from katas.gpt_model import GPT, GPTConfig

VOCAB, LENGTH, LAYERS, HEADS, DIM = 7, 6, 1, 2, 8


def config(**sizes):
    return GPTConfig(
        **{"vocab": VOCAB, "max_length": LENGTH, "layers": LAYERS, "heads": HEADS, "dim": DIM, "dropout": 0.0} | sizes
    )


def shapes(vocab=VOCAB, max_length=LENGTH, layers=LAYERS, dim=DIM):
    """The parameters by their names."""
    block = {
        "norm1": (dim,),
        "attention.qkv": (3 * dim, dim),
        "attention.out": (dim, dim),
        "norm2": (dim,),
        "mlp.up": (4 * dim, dim),
        "mlp.down": (dim, 4 * dim),
    }
    named = {"token.weight": (vocab, dim), "position.weight": (max_length, dim), "head.weight": (vocab, dim)}
    named |= {"norm.weight": (dim,), "norm.bias": (dim,)}
    for i in range(layers):
        named |= {f"blocks.{i}.{name}.weight": shape for name, shape in block.items()}
        named |= {f"blocks.{i}.{name}.bias": shape[:1] for name, shape in block.items()}
    return named


def built(**sizes):
    """A model as it comes, its parameters looked at."""
    model = GPT(config(**sizes))
    asked = {name: size for name, size in sizes.items() if name in ("vocab", "max_length", "layers", "dim")}
    hint = "assign each submodule to self by its name: blocks in an nn.ModuleList, head without bias"
    expect_parameters(model, shapes(**asked), what="the GPT", hint=hint)
    return model


def random_model(rng, dtype=torch.float64, **sizes):
    """A model in evaluation with all weights drawn, as in the middle of training: no zeros, norms that matter."""
    model = built(**sizes).double().eval()
    fill_at_random(model.parameters(), rng)
    return model if dtype is torch.float64 else model.to(dtype)


def texts(rng, batch=2, n=5, vocab=VOCAB):
    return randint(rng, 0, vocab, batch, n)


class Spy(nn.Module):
    """In the place of a block: an affine map, so that the order shows. Keeps what it is given, and in which mode."""

    def __init__(self, factor=1.0, shift=0.0):
        super().__init__()
        self.factor, self.shift = factor, shift
        self.inputs, self.graphs, self.modes = [], [], []

    def forward(self, x):
        self.inputs.append(x.detach().clone())
        self.graphs.append(x.requires_grad)
        self.modes.append(self.training)
        return self.factor * x + self.shift


def with_spies(model, *spies):
    """The model, its blocks replaced by these; by as many that change nothing, if there are none."""
    for i, spy in enumerate(spies or [Spy() for _ in model.blocks]):
        model.blocks[i] = spy.train(model.training)
    return model


def logits_of(model, tokens):
    """The model's logits, after a look at their shape."""
    logits = model(tokens)
    got = list(logits.shape) if isinstance(logits, torch.Tensor) else describe(logits)
    wanted = [*tokens.shape, len(model.token.weight)]
    expect_equal(got, wanted, what=f"the shape of the logits of {list(tokens.shape)} tokens", hint="[batch, n, vocab]")
    return logits


@contextmanager
def watched(**modules):
    """While the block runs, a dict with the last input and output of each of these modules."""
    seen = {}

    def keep(name):
        def hook(module, given, result):
            seen[f"{name} reads"], seen[f"{name} gives"] = given[0].detach(), result.detach()

        return hook

    hooks = [module.register_forward_hook(keep(name)) for name, module in modules.items()]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def watched_block(rng):
    """A given block, its weights drawn, and what its parts read and give on the way; None if they are not called."""
    block = random_model(rng).blocks[0]
    x = randn(rng, 2, 4, DIM)
    parts = {"norm1": block.norm1, "attention": block.attention, "norm2": block.norm2, "mlp": block.mlp, "block": block}
    with watched(**parts) as seen:
        block(x)
    for part in parts:
        for does in ("reads", "gives"):
            seen.setdefault(f"{part} {does}", None)
    return block, seen


def stream_after_attention(seen):
    """What norm2 reads, or should."""
    reads = seen["norm2 reads"]
    return seen["block reads"] + seen["attention gives"] if reads is None else reads
