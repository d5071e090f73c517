"""What can be seen of a LoRA layer: its parameters, its answers and gradients, its weight before and after merging."""

import copy

import torch
from torch import nn

from dojo.testing import randint
from dojo.testing.cost import measure
from dojo.testing.probes import Case, Draws, Pairs

NAN = float("nan")
INIT, FORWARD, MERGE, UNMERGE = ("LoRALinear" + part for part in ("", ".forward", ".merge", ".unmerge"))


def case(name, of, rng, out=7, rank=2, alpha=7.0, dropout=0.0, bias=True, dtype=torch.float32, shape=(4,), **more):
    """Whole numbers, so that no order of summation rounds; small ones where the dtype is."""
    sizes = {
        "W": (out, 5),
        "b": (out,),
        "A": (rank, 5),
        "B": (out, rank),
        "B2": (out, rank),
        "W2": (out, 5),
        "x": (*shape, 5),
    }
    most = 3 if dtype == torch.float32 else 1
    drawn = {key: randint(rng, -most, most + 1, *size).to(dtype) for key, size in sizes.items()}
    return Case(name, of=of, rank=rank, alpha=alpha, dropout=dropout, bias=bias, dtype=dtype, **drawn, **more)


def cases(rng):
    for part in ("parameters", "trainable", "A", "B", "base", "merged", "state"):
        yield case(f"start: {part}", INIT, rng, part=part)
    sizes = [[*randint(rng, 5, 99, 2).tolist(), randint(rng, 1, 5).item()] for _ in range(5)]
    yield Case("start: shapes", of=INIT, sizes=sizes)
    yield Case("start half", of=INIT, dtype=torch.bfloat16, device="cpu", rank=2, dropout=0.0)
    yield Case("start elsewhere", of=INIT, dtype=torch.float32, device="meta", rank=2, dropout=0.0)
    for rank, dropout in ((0, 0.0), (-1, 0.0), (2, 1.0), (2, -0.1), (2, NAN)):
        yield Case(f"start {rank=} {dropout=}", of=INIT, dtype=torch.float32, device="cpu", rank=rank, dropout=dropout)
    yield case("rows", FORWARD, rng)
    yield case("one vector, no bias", FORWARD, rng, shape=(), bias=False)
    yield case("square, more dimensions", FORWARD, rng, out=5, shape=(2, 3))
    yield case("half", FORWARD, rng, dtype=torch.bfloat16)
    yield case("evaluation with dropout", FORWARD, rng, dropout=0.5, train=False)
    yield case("strides", FORWARD, rng, shape=(3, 4), strides=True)
    yield case("B = 0, dropout", FORWARD, rng, dropout=0.5, shape=(20,), start=True)
    yield case("steps", FORWARD, rng, steps=3)
    yield case("copied", FORWARD, rng)
    bits = 2.0 ** torch.randperm(6, generator=rng)[:4].double()
    rate = 0.15 + 0.2 * torch.rand((), generator=rng).item() + 0.4 * randint(rng, 0, 2).item()  # clear of a half
    yield Case("dropout", of=FORWARD, dropout=rate, x=bits)
    whole = randint(rng, -3, 4, 272, 256).float()
    yield Case("cost", of=FORWARD, x=whole[:16], W=whole[16:])
    yield case("merge", MERGE, rng, action="mm")
    yield case("merge a square", MERGE, rng, out=5, action="m")
    yield case("merge half", MERGE, rng, dtype=torch.bfloat16, action="m")
    yield case("merge in training", MERGE, rng, dropout=0.5, action="m")
    yield case("eval and train", MERGE, rng, action="etm")
    yield case("merge, eval and train", MERGE, rng, action="met")
    yield case("merge into another weight", MERGE, rng, action="muwmu")
    yield case("unmerge", UNMERGE, rng, action="mu")
    yield case("unmerge first", UNMERGE, rng, action="umu")
    yield case("unmerge twice", UNMERGE, rng, action="muu")
    yield case("merge anew", UNMERGE, rng, action="mubm")


def wrap(kata, case):
    layer = kata.LoRALinear(base_of(case), case.rank, case.alpha, case.dropout)
    with torch.no_grad():
        layer.lora_A.copy_(case.A)
        layer.lora_B.copy_(torch.zeros_like(case.B) if getattr(case, "start", False) else case.B)
        layer.base.weight.copy_(case.W)  # also where the answer has made a base of its own
    return layer


def base_of(case):
    base = nn.Linear(5, case.W.shape[0], case.bias, dtype=case.dtype)
    with torch.no_grad():
        base.weight.copy_(case.W)
        if case.bias:
            base.bias.copy_(case.b)
    return base


def run(kata, case):
    known = {"steps": steps, "dropout": dropout, "cost": cost, "copied": copied, "start: shapes": shapes}
    if case.name in known:
        return known[case.name](kata, case)
    if hasattr(case, "part"):
        return start(kata, case)[case.part]
    if case.of == INIT:
        layer = kata.LoRALinear(nn.Linear(5, 7, dtype=case.dtype, device=case.device), case.rank, 4.0, case.dropout)
        return {"adapter": [[str(p.dtype), p.device.type] for p in (layer.lora_A, layer.lora_B)]}
    return answer(kata, case) if case.of == FORWARD else actions(kata, case)


def start(kata, case):
    mode = torch.get_deterministic_debug_mode()
    base = base_of(case)
    weight = base.weight
    torch.set_deterministic_debug_mode("warn")  # memory that nobody fills is NaN
    try:
        layer, other = kata.LoRALinear(base, 2, 4.0), kata.LoRALinear(base_of(case), 2, 4.0)
    finally:
        torch.set_deterministic_debug_mode(mode)
    A, B = layer.lora_A.detach(), layer.lora_B.detach().clone()
    with torch.no_grad():
        layer.lora_B.zero_()  # what the rest shows does not depend on a B that was drawn at random
    y = layer(case.x)
    kept = layer.base.weight.detach().clone()
    with torch.no_grad():
        weight.copy_(case.W2)  # shows in the layer if it has kept the weight itself
    return {
        "parameters": {
            str(name): [list(p.shape), p.detach()] if name.startswith("base") else list(p.shape)
            for name, p in sorted(layer.named_parameters(remove_duplicate=False))
        },
        "trainable": {"names": sorted(str(name) for name, p in layer.named_parameters() if p.requires_grad), "y": y},
        "A": {
            "rank": int(torch.linalg.matrix_rank(A)) if bool(A.isfinite().all()) else "not filled",
            "again": Pairs(A, other.lora_A.detach()),
        },
        "B": {"shape": list(B.shape), "nonzero": int(B.count_nonzero()), "values": len(B.unique()), "y": y},
        "base": {
            "before": kept,
            "after": layer.base.weight,
            "y": layer(case.x),
            "itself": [layer.base is base, layer.base.weight is weight],
        },
        "merged": {"merged": bool(layer.merged), "y": y},
        "state": {str(name): value for name, value in sorted(layer.state_dict().items()) if name != "lora_A"}
        | {"all": sorted(layer.state_dict())},
    }


def shapes(kata, case):
    """The shapes of A and B; whole layers rarely are as small as those of the other cases."""
    layers = [kata.LoRALinear(nn.Linear(*sizes), rank, 1.0) for *sizes, rank in case.sizes]
    return {"shapes": [[list(layer.lora_A.shape), list(layer.lora_B.shape)] for layer in layers]}


def answer(kata, case):
    layer, x = wrap(kata, case), case.x.clone()
    if getattr(case, "strides", False):
        x = x.transpose(0, -1).contiguous().transpose(0, -1)
    torch.default_generator.manual_seed(0)  # whatever drawing A has consumed
    differentiate = case.dropout == 0 and case.dtype == torch.float32
    y = layer.train(getattr(case, "train", True))(x.requires_grad_(differentiate))
    seen = {"y": y, "x after": x, "x trains": x.requires_grad is not differentiate}
    if hasattr(case, "start"):  # with B = 0 alone, the base would do for an answer
        with torch.no_grad():
            layer.lora_B.copy_(case.B)
        seen["later"] = layer.eval()(case.x)
    if differentiate:
        y.square().sum().backward()
        seen |= {"dx": x.grad, "dA": layer.lora_A.grad, "dB": layer.lora_B.grad}
    return seen


def steps(kata, case):
    layer = wrap(kata, case).double()
    with torch.no_grad():
        layer.lora_B.zero_()
    seen = {}
    for number in range(case.steps):
        layer.zero_grad()
        layer(case.x.double()).square().mean().backward()
        with torch.no_grad():
            for parameter in layer.parameters():
                if parameter.grad is not None:
                    parameter -= 0.05 * parameter.grad
        seen |= {f"A{number}": layer.lora_A.detach().clone(), f"B{number}": layer.lora_B.detach().clone()}
    return seen | {"W": layer.base.weight, "b": layer.base.bias}


def copied(kata, case):
    layer = wrap(kata, case)
    twin = copy.deepcopy(layer)
    with torch.no_grad():
        twin.lora_B.copy_(case.B2)
    return {"copy": twin(case.x), "original": layer(case.x)}


def dropout(kata, case):
    """Which of the inputs, powers of 2, survive in each of 2000 rows, as two outputs see it."""
    layer = kata.LoRALinear(nn.Linear(4, 2, dtype=torch.float64), 1, 1.0, case.dropout).train()
    with torch.no_grad():
        for tensor, value in ((layer.base.weight, 0), (layer.base.bias, 0), (layer.lora_A, 1), (layer.lora_B, 1)):
            tensor.fill_(value)
        x = case.x.expand(2000, -1)
        sums, again = layer(x) * (1 - case.dropout), layer(x) * (1 - case.dropout)
    seen = {"beside whole numbers": sums - sums.round(), "outputs alike": Pairs(sums[:, 0], sums[:, 1])}
    return seen | {"passes alike": Pairs(sums, again), "sums": Draws(sums[:, 0].round().long(), 64)}


def cost(kata, case):
    base = nn.Linear(256, 256, bias=False)
    layer, x = kata.LoRALinear(base, 1, 2.0), case.x.clone()
    with torch.no_grad():
        layer.base.weight.copy_(case.W)
        layer.lora_A.copy_(case.W[:1])
        layer.lora_B.copy_(case.W[:, :1])
    with measure() as plain:
        nn.functional.linear(x, base.weight)
    with measure() as spent:
        y = layer(x)
    return {
        "y": y[:, ::32],
        "within 1.05": spent.flops <= 1.05 * plain.flops,
        "lean": spent.allocated < base.weight.nbytes / 2,
    }


def actions(kata, case):
    """m: merge, u: unmerge, e: eval(), t: train(), b: B changes, w: W changes. What is seen after each."""
    layer, other = wrap(kata, case), wrap(kata, case)
    weight, shared, seen = layer.base.weight, layer.base.weight.detach(), {}
    torch.default_generator.manual_seed(0)  # whatever drawing A has consumed
    for number, action in enumerate(case.action):
        if action in "bw":
            with torch.no_grad():
                layer.lora_B.copy_(case.B2) if action == "b" else layer.base.weight.copy_(case.W2)
        else:
            result = {"m": layer.merge, "u": layer.unmerge, "e": layer.eval, "t": layer.train}[action]()
            seen[f"{number} returns itself"] = action in "et" and result is layer
        seen[f"{number} merged"] = [bool(layer.merged), bool(other.merged)]
        seen[f"{number} W"] = layer.base.weight.detach().clone()
        seen[f"{number} shared memory"] = shared.clone()
    for name, p in layer.named_parameters():
        if name != "base.bias":
            seen[name] = [p.requires_grad, p.is_leaf, p.detach().clone()]
    seen |= {"same weight": layer.base.weight is weight, "state": sorted(layer.state_dict())}
    return seen | ({"y": layer(case.x)} if case.dtype == torch.float32 else {})
