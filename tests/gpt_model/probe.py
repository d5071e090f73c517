"""What can be seen of a GPT: its parameters and how they start, what blocks read, logits, losses, texts, groups, cost."""

import copy
from functools import partial

import torch

from dojo.testing import randint, randn
from dojo.testing.cost import measure
from dojo.testing.probes import Case, Draws, Pairs

INIT, FORWARD, LOSS, GROUPS, TEXT = "GPT", "GPT.forward", "GPT.loss", "GPT.parameter_groups", "generate"
SIZES = {"vocab": 7, "max_length": 6, "layers": 1, "heads": 2, "dim": 8}
DROPPING, LARGE = {"layers": 2, "dropout": 0.25}, {"vocab": 150, "max_length": 100, "layers": 3, "dim": 16}
DRAWN = ("token.weight", "position.weight", "qkv.weight", "up.weight", "out.weight", "down.weight")
MASKS = {"right": [[1, 1, 1, 0, 0], [1, 1, 1, 1, 0]], "prompt": [[0, 0, 1, 1, 1], [0, 1, 1, 1, 1]]}
MASKS["a whole row"] = [[0, 0, 0, 0, 0], [1, 1, 1, 0, 1]]
NAN, COLD, HALF, DOUBLE = float("nan"), 1e-5, torch.float16, torch.float64


def cases(rng):
    def case(name, of, do="", sizes=(), batch=2, n=5, *, training=False, dtype=DOUBLE, spread=None, most=0, **given):
        sizes, seed = SIZES | dict(sizes), int(randint(rng, 0, 2**60, 1))
        how = {"sizes": sizes, "training": training, "dtype": dtype, "spread": spread, "most": most}
        return Case(name, of=of, do=do, tokens=randint(rng, 0, sizes["vocab"], batch, n), seed=seed, given=given, **how)

    yield case("parameters", INIT, "parameters", DROPPING)
    yield case("start", INIT, "start", LARGE)
    yield case("tie", INIT, "tie", values=randn(rng, 7, 8))
    for batch, n in ((3, 5), (2, 6), (2, 0), (2, 7)):
        yield case(f"logits of {batch} x {n}", FORWARD, "", (), batch, n)
    yield case("what blocks read", FORWARD, "reads", DROPPING)
    for name in ("evaluation", "training"):
        yield case(f"dropout in {name}", FORWARD, "dropped", DROPPING, 200, 6, training=name == "training")
    yield case("what the head reads in training", FORWARD, "head", DROPPING, training=True)
    for batch, n in ((1, 2), (3, 5), (2, 1)):
        yield case(f"loss of {batch} x {n}", LOSS, "", (), batch, n)
    for name, mask in MASKS.items():
        yield case(f"mask: {name}", LOSS, mask=torch.tensor(mask).bool())
    yield case("loss of unlikely targets", LOSS, batch=4, spread=1000)
    yield case("loss in half precision", LOSS, "half", batch=6, dtype=HALF, spread=1)
    yield case("gradients", LOSS, "gradients")
    yield case("groups", GROUPS, "groups", decay=float(randn(rng, 1).exp()))
    for n, new in ((1, 3), (3, 5), (9, 2), (3, -1)):
        yield case(f"{new} after {n}", TEXT, "text", (), 4, n, max_new_tokens=new, temperature=0.0)
    yield case("in training", TEXT, "text", DROPPING, 4, 3, training=True, max_new_tokens=3, temperature=0.0)
    for temperature in (-0.5, NAN):
        yield case(f"temperature {temperature}", TEXT, max_new_tokens=1, temperature=temperature)
    yield case("cold, in half precision", TEXT, "shape", dtype=HALF, max_new_tokens=1, temperature=COLD)
    for temperature in (1.0, 0.5, COLD):
        how = {} if temperature == 1 else {"temperature": temperature}
        yield case(f"draws at {temperature}", TEXT, "draws", n=3, spread=0.3 * temperature, max_new_tokens=2, **how)
    for of in (FORWARD, LOSS):
        yield case(f"cost of {of}", of, "cost", n=6, most=flops(6, 6))
    yield case("cost of a text", TEXT, "cost", n=4, max_new_tokens=2, most=flops(4, 1) + flops(5, 1))


def flops(n, heads):
    """Of two rows of n tokens, where the head reads this many of each."""
    return 2 * (24 * 8**2 * n + 4 * n**2 * 8 + 2 * 7 * 8 * heads)


def named(module):
    """The parameters by their names, in order. A tied one has both."""
    return dict(sorted(module.named_parameters(remove_duplicate=False)))


@torch.no_grad()
def fill(model, case):
    """Gives it values that do not hang on the order of random draws. A head has those of the embedding."""
    rng, own = torch.Generator().manual_seed(case.seed), named(model)
    for name, p in own.items():
        if name != "head.weight":
            p.copy_(torch.randn(p.shape, generator=rng, dtype=DOUBLE))
    if "head.weight" in own:
        own["head.weight"].copy_(own["token.weight"])
    if case.spread:  # all that the head reads has this size
        model.norm.weight.copy_(case.spread * model.norm.weight.sign())
        model.norm.bias.zero_()
    torch.default_generator.manual_seed(case.seed)  # whatever the initial values drew


def run(kata, case):
    model = kata.GPT(kata.GPTConfig(**case.sizes))
    if case.of == INIT:
        return new(model, case)
    fill(model.to(case.dtype).train(case.training), case)
    if case.do == "groups":
        names = {id(p): name for name, p in named(model).items()}
        groups = [(each["weight_decay"], each["params"]) for each in model.parameter_groups(case.given["decay"])]
        return {"decays": sorted([names[id(p)], float(decay)] for decay, params in groups for p in params)}
    call = {FORWARD: model, LOSS: model.loss, TEXT: partial(kata.generate, model)}[case.of]
    if case.do == "cost":
        with torch.no_grad(), measure() as spent:
            call(case.tokens, **case.given)
        return {"lean": 0.8 * case.most <= spent.flops <= 1.02 * case.most}
    return draws(call, case) if case.do == "draws" else results(call, model, case)


def new(model, case):
    """How a model starts: its parameters, weights by the bin they lie in; what is dropped, and what is tied."""
    own, x = named(model), torch.randn(2, 5, 8)
    if case.do == "parameters":
        shapes = {name: list(values.shape) for name, values in sorted(model.state_dict().items())}
        return {"shapes": shapes, "dropout": [Pairs(block(x), block(x)) for block in model.blocks]}
    if case.do == "tie":
        both = [model, copy.deepcopy(model).half().float()]
        for each in both:
            each.token.weight.data.copy_(case.given["values"])
        return {"heads": [each.head.weight for each in both], "numbers": sum(p.numel() for p in model.parameters())}
    weights = {end: torch.cat([p.flatten() for name, p in own.items() if name.endswith(end)]) for end in DRAWN}
    drawn = {end: Draws((each / 0.004).floor().long().clamp(-20, 19) + 20, 40) for end, each in weights.items()}
    twins = Pairs(own["blocks.0.mlp.up.weight"], own["blocks.1.mlp.up.weight"])
    return drawn | {"vectors": [[name, p] for name, p in own.items() if p.dim() == 1], "twins": twins}


def results(call, model, case):
    """What comes out, or what blocks and head read on the way."""
    seen, tokens = [], case.tokens.clone()
    for block in model.blocks:
        block.register_forward_hook(lambda _, given, result: seen.append((given[0], result)))
    got = call(tokens, **case.given)
    if case.do == "reads":
        return {"read": [x for x, _ in seen]}
    if case.do == "dropped":
        x = seen[0][0]
        return {"zero": Draws((x == 0).long().flatten(), 2), "largest": x.abs().amax(0)}
    if case.do == "head":
        return {"of the norm": torch.allclose(got, model.norm(seen[-1][1]) @ model.head.weight.T)}
    if case.do == "half":  # against the model's own logits, which depend on the order of its sums
        exact = -model(tokens).double().log_softmax(-1)[:, :-1].gather(-1, tokens[:, 1:, None]).mean()
        return {"off": round(float((got.double() - exact).detach()), 4), "dtype": got.dtype.itemsize}
    if case.do == "gradients":
        got.backward()
        return {name: "none" if p.grad is None else p.grad for name, p in named(model).items()}
    if case.do == "shape":  # nearly equal logits in half precision depend on the order of sums
        return {"shape": list(got.shape)}
    how = [torch.is_grad_enabled(), sorted({each.training for each in model.modules()})]
    fed = [seen[-1][0], [[x.shape[1], x.requires_grad] for x, _ in seen]] if case.do == "text" else []
    return {"result": got, "tokens after": Pairs(tokens, case.tokens), "fed": fed, "mode after": how}


def draws(generate, case):
    """Of two new tokens after each of many equal prompts, and what a generator repeats."""
    prompts, generator = case.tokens[:1].repeat(300, 1), torch.Generator()
    first, again = (generate(prompts, generator=generator.manual_seed(case.seed), **case.given) for _ in range(2))
    a, b = first[:, -2], first[:, -1]
    numbers = {"first": a, "second": b, "pair": 7 * a + b, "rows": 7 * b[::2] + b[1::2]}
    seen = {"prompt": first[:, :3].unique(dim=0), "repeated": Pairs(first, again)}
    return seen | {name: Draws(each, 49) for name, each in numbers.items()}
