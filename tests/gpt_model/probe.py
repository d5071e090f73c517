"""What can be seen of a GPT: its parameters and how they start, what blocks read, logits, losses, texts, groups, cost."""

import copy

import torch
from torch import nn

from dojo.testing import randint, randn
from dojo.testing.cost import measure
from dojo.testing.probes import Case, Draws, Pairs

SIZES = {"vocab": 7, "max_length": 6, "layers": 1, "heads": 2, "dim": 8}
TWO = SIZES | {"layers": 2}
LARGE = {"vocab": 150, "max_length": 100, "layers": 2, "heads": 2, "dim": 16}
INIT, FORWARD, LOSS, GROUPS = "GPT", "GPT.forward", "GPT.loss", "GPT.parameter_groups"
MASKS = {"right": [[1, 1, 1, 0, 0], [1, 1, 1, 1, 0]], "prompt": [[0, 0, 1, 1, 1], [0, 1, 1, 1, 1]]}
MASKS["a whole row"] = [[0, 0, 0, 0, 0], [1, 1, 1, 0, 1]]


def cases(rng):
    for name in ("block in evaluation", "block in training"):
        yield Case(name, of="Block", do="block", x=randn(rng, 2, 5, 8), **given(rng, training="training" in name))
    yield Case("parameters", of=INIT, do="parameters", **given(rng, TWO))
    for layers in (2, 3):
        yield Case(f"start of {layers}", of=INIT, do="start", **given(rng, LARGE | {"layers": layers}))
    yield Case("blocks in training", of=INIT, do="dropout", **given(rng, TWO | {"dropout": 0.5}, training=True))
    for name in ("tie in a copy", "tie after loading"):
        yield Case(name, of=INIT, do=name, values=randn(rng, 7, 8), **given(rng))
    for batch, n in ((3, 5), (2, 6), (2, 0), (2, 7)):
        yield Case(f"logits of {batch} x {n}", of=FORWARD, do="logits", **given(rng, batch=batch, n=n))
    for name in ("what blocks read", "dropout in evaluation", "dropout in training", "dropout of a quarter"):
        sizes = {"dropout": 0.25 if "quarter" in name else 0.5}
        training = "evaluation" not in name
        if name == "what blocks read":
            sizes, training = {"layers": 2}, False
        yield Case(
            name,
            of=FORWARD,
            do="read",
            **given(rng, SIZES | sizes, batch=200 if "dropout" in sizes else 2, n=6, training=training),
        )
    for batch, n in ((1, 2), (3, 5), (2, 1), (2, 0)):
        yield Case(f"loss of {batch} x {n}", of=LOSS, do="loss", mask=None, **given(rng, batch=batch, n=n))
    for name, mask in MASKS.items():
        yield Case(f"mask: {name}", of=LOSS, do="loss", mask=torch.tensor(mask).bool(), **given(rng))
    yield Case("loss in half precision", of=LOSS, do="half loss", **given(rng, batch=6, dtype=torch.float16))
    for i in range(2):
        yield Case(f"groups {i}", of=GROUPS, do="groups", decay=float(randn(rng, 1).exp()), **given(rng))
    for n, new in ((1, 3), (3, 5), (9, 2), (3, -1)):
        yield text(rng, f"{new} after {n}", n=n, new=new)
    yield text(rng, "from training", SIZES | {"dropout": 0.5}, n=3, training=True)
    yield text(rng, "from evaluation", SIZES | {"dropout": 0.5}, n=3)
    yield text(rng, "cold", temperature=1e-5, dtype=torch.float16)
    for temperature in (-0.5, float("nan")):
        yield text(rng, f"temperature {temperature}", temperature=temperature)
    for temperature in (None, 0.5):
        one = given(rng, SIZES | {"layers": 1}, n=3)
        yield Case(f"draws at {temperature}", of="generate", do="draws", temperature=temperature, **one)
    for do in ("cost", "cost of generate"):
        yield Case(do, of=FORWARD if do == "cost" else "generate", do=do, **given(rng, n=6))
    yield Case("loss of unlikely targets", of=LOSS, do="loss", mask=None, **given(rng, batch=4))
    yield Case(
        "logits in training", of=FORWARD, do="in training", **given(rng, SIZES | {"dropout": 0.5}, training=True)
    )
    yield Case("draws when cold", of="generate", do="draws", temperature=1e-5, **given(rng, n=3))


def given(rng, sizes=SIZES, batch=2, n=5, training=False, dtype=torch.float64, **more):
    tokens = randint(rng, 0, sizes["vocab"], batch, n)
    seed = int(randint(rng, 0, 2**60, 1))
    return {"sizes": sizes, "tokens": tokens, "seed": seed, "training": training, "dtype": dtype} | more


def text(rng, name, sizes=SIZES, n=3, new=3, temperature=0.0, **more):
    return Case(name, of="generate", do="text", new=new, temperature=temperature, **given(rng, sizes, 4, n, **more))


def filled(module, seed):
    """The module with values that do not hang on the order of random draws. A head has those of the embedding."""
    rng, parameters = torch.Generator().manual_seed(seed), named(module)
    with torch.no_grad():
        for name, p in parameters.items():
            if name != "head.weight":
                p.copy_(torch.randn(p.shape, generator=rng, dtype=torch.float64))
        if "head.weight" in parameters:
            parameters["head.weight"].copy_(parameters["token.weight"].detach().clone())
    return module


class Spy(nn.Module):
    """An affine map in the place of a block, which keeps what it is given."""

    def __init__(self, i):
        super().__init__()
        self.i, self.seen, self.graphs = i, [], []

    def forward(self, x):
        self.seen.append(x.detach().clone())
        self.graphs.append(x.requires_grad)
        return (self.i + 0.5) * x - self.i


def run(kata, case):
    try:
        return observe(kata, case)
    finally:
        torch.set_grad_enabled(True)  # which an answer may have left off


def observe(kata, case):
    if case.do == "block":
        block = kata.Block(8, 2, 0.5).double().train(case.training)
        block, x = filled(block, case.seed), case.x.clone()
        if not case.training:
            return {"answer": block(x), "x after": Pairs(x, case.x)}
        return {"answer": Pairs(block(x), block(x)), "dropped": [layer.training for layer in block.modules()]}
    model = kata.GPT(kata.GPTConfig(**case.sizes))
    if case.do == "parameters":
        blocks = len({id(p) for p in model.blocks.parameters()})
        return {"shapes": {k: list(v.shape) for k, v in sorted(model.state_dict().items())}, "in blocks": blocks}
    if case.do == "start":
        return start(model)
    if case.do.startswith("tie"):
        return tie(kata, model, case)
    if case.do == "groups":
        return groups(model, case)
    filled(model.to(case.dtype), case.seed).train(case.training)
    torch.manual_seed(case.seed)  # how many draws the initial values took does not matter from here on
    tokens = case.tokens.clone()
    if case.do == "dropout":
        x = torch.ones(1, 2, 8, dtype=case.dtype)
        return {f"block {i}": Pairs(block(x), block(x)) for i, block in enumerate(model.blocks)}
    if case.do == "logits":
        return {"logits": model(tokens), "tokens after": Pairs(tokens, case.tokens)}
    if case.do == "in training":
        model.blocks[0] = Spy(0)
        logits, spy = model(tokens), model.blocks[0]
        return {"of the norm": torch.allclose(logits, model.norm(spy(spy.seen[0])) @ model.head.weight.T)}
    if case.name == "loss of unlikely targets":
        with torch.no_grad():
            model.norm.weight.copy_(1000 * model.norm.weight.sign())
    if case.do == "loss":
        loss = model.loss(tokens) if case.mask is None else model.loss(tokens, case.mask.clone())
        seen = {"loss": loss, "tokens after": Pairs(tokens, case.tokens)}
        if case.name != "loss of 3 x 5":
            return seen
        loss.backward()
        return seen | {f"d{k}": g for k, g in gradients(model).items()}
    if case.do == "half loss":  # against the model's own logits, which depend on the order of its sums
        exact = -model(tokens).double().log_softmax(-1)[:, :-1].gather(-1, tokens[:, 1:, None]).mean()
        loss = model.loss(tokens)
        return {"off": round(float((loss.double() - exact).detach()), 4), "dtype": loss.dtype.itemsize}
    if case.do.startswith("cost"):
        return cost(kata, model, case)
    if case.do == "read":
        return read(model, tokens)
    if case.do == "draws":
        return draws(kata, model, case)
    new = kata.generate(model, tokens, case.new, temperature=case.temperature)
    if case.dtype is torch.float16:  # whose nearly equal logits depend on the order of sums
        return {"shape": list(new.shape)}
    modes = sorted({module.training for module in model.modules()})
    for i in range(len(model.blocks)):
        model.blocks[i] = Spy(i).train(case.training)
    kata.generate(model, tokens, case.new, temperature=case.temperature)
    fed = [[len(spy.seen), [x.shape[1] for x in spy.seen], spy.graphs] for spy in model.blocks]
    seen = {"text": new, "prompt after": Pairs(tokens, case.tokens), "modes": modes, "fed": fed}
    return seen | {"gradients": torch.is_grad_enabled()}


def gradients(model):
    zero = torch.zeros(())
    return {k: zero if p.grad is None else p.grad for k, p in named(model).items()}


def named(model):
    """The parameters by their names, in order. A tied one has both."""
    return dict(sorted(model.named_parameters(remove_duplicate=False)))


def start(model):
    """Weights by the bin they lie in; all that is no matrix as it is."""
    kinds = ("token.weight", "position.weight", "qkv.weight", "up.weight", "out.weight", "down.weight")
    parameters, seen = named(model), {}
    for kind in kinds:
        weights = torch.cat([p.detach().flatten() for k, p in parameters.items() if k.endswith(kind)])
        seen[kind] = Draws((weights / 0.004).floor().long().clamp(-20, 19) + 20, 40)
    vectors = [(k, p) for k, p in parameters.items() if p.dim() == 1]
    twins = Pairs(parameters["blocks.0.mlp.up.weight"], parameters["blocks.1.mlp.up.weight"])
    return seen | {"vectors": [[k, p] for k, p in vectors], "twins": twins}


def tie(kata, model, case):
    """What head and embedding hold after the one has been changed."""
    if case.do == "tie in a copy":
        model = copy.deepcopy(model).half().float()
    if case.do == "tie after loading":
        model.load_state_dict(filled(kata.GPT(kata.GPTConfig(**case.sizes)), case.seed).state_dict())
    with torch.no_grad():
        model.token.weight.copy_(case.values)
    return {"head": model.head.weight, "numbers": sum(p.numel() for p in model.parameters())}


def groups(model, case):
    names, seen = {id(p): k for k, p in named(model).items()}, []
    for group in model.parameter_groups(case.decay):
        seen += [[names[id(p)], float(group["weight_decay"])] for p in group["params"]]
    return {"decays": sorted(seen)}


def read(model, tokens):
    """What each block reads in its place, an affine map being there; with dropout, which numbers are zero."""
    for i in range(len(model.blocks)):
        model.blocks[i] = Spy(i).train(model.training)
    logits = model(tokens)
    if not model.training:
        return {"logits": logits, "read": [spy.seen for spy in model.blocks]}
    x = torch.stack(model.blocks[0].seen)
    return {"zero": Draws((x == 0).long().flatten(), 2), "largest": x.abs().amax(1)}


def draws(kata, model, case):
    """Of one and of two new tokens from each of many equal prompts, and what a generator repeats."""
    with torch.no_grad():
        model.norm.weight.copy_((1e-5 if case.temperature == 1e-5 else 0.3) * model.norm.weight.sign())
        model.norm.bias.zero_()
    model.eval()
    how = {} if case.temperature is None else {"temperature": case.temperature}
    prompts = case.tokens[:1].repeat(300, 1)
    many = kata.generate(model, prompts, 2, **how)
    if case.temperature in (None, 1e-5):
        return {"first": Draws(many[:, 3], 7)}
    with torch.no_grad():
        model.token.weight.zero_()
        model.head.weight.zero_()
    even = kata.generate(model, prompts, 2, **how)[:, 3:]
    some = case.tokens.repeat(4, 1)
    one, other = torch.Generator().manual_seed(case.seed), torch.Generator().manual_seed(case.seed)
    first, again = (kata.generate(model, some, 3, generator=each, **how) for each in (one, other))
    seeded = torch.Generator().manual_seed(case.seed)
    pairs = kata.generate(model, prompts, 2, generator=seeded, **how)[:, 3:]
    seen = {"seeded pair": Draws(7 * pairs[:, 0] + pairs[:, 1], 49)}
    seen |= {"prompt": many[:, :3].unique(dim=0), "first": Draws(many[:, 3], 7), "second": Draws(many[:, 4], 7)}
    seen |= {"pair": Draws(7 * even[:, 0] + even[:, 1], 49), "rows": Draws(7 * even[::2, 1] + even[1::2, 1], 49)}
    return seen | {"repeated": Pairs(first, again), "goes on": Pairs(one.get_state(), other.get_state())}


def cost(kata, model, case):
    tokens, dim, vocab = case.tokens, case.sizes["dim"], case.sizes["vocab"]

    def flops(n, heads):
        return 2 * (case.sizes["layers"] * (24 * dim**2 * n + 4 * n**2 * dim) + 2 * vocab * dim * heads)

    with torch.no_grad(), measure() as spent:
        model(tokens) if case.do == "cost" else kata.generate(model, tokens[:, :4], 2)
    most = flops(6, 6) if case.do == "cost" else flops(4, 1) + flops(5, 1)
    with torch.no_grad(), measure() as loss:
        model.loss(tokens) if case.do == "cost" else None
    whole = [0.8 * most <= loss.flops <= 1.02 * most] if case.do == "cost" else []
    return {"lean": [0.99 * most <= spent.flops <= 1.02 * most, *whole], "logits": model(tokens)}
