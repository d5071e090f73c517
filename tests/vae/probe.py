"""What can be seen of a VAE's loss. Of a sample: its noise, and how mean and logvar move and stretch it, from draws under one
seed. Of the terms: each part alone (the mean, the logvar, the error, the constant), with one number and with several."""

import numpy as np
import torch

from dojo.testing import randn
from dojo.testing.probes import Case, Draws, Pairs

SAMPLE, KL, NLL, LOSS = "reparameterize", "kl_to_standard_normal", "gaussian_nll", "negative_elbo"
HALF, BRAIN, SINGLE, DOUBLE = torch.float16, torch.bfloat16, torch.float32, torch.float64
SIZES = torch.tensor([0.003, 0.01, 0.03, 0.1, 0.3, 0.6, 1, 1.5, 2, 2.5, 3], dtype=DOUBLE)
EDGES = torch.cat([-SIZES.flip(0), SIZES])
NAN, INF = float("nan"), float("inf")
SHAPES = {"one": (4, 1), "single": (1, 3), "vectors": (4, 3), "images": (2, 3, 4, 5)}
WRONG_SHAPES = [
    ((3, 2), (1, 2)),
    ((3, 2), (3, 1)),
    ((3, 1), (3, 2)),
    ((1, 2), (3, 2)),
    ((3, 2), (2,)),
    ((3, 2), (2, 3)),
]


def cases(rng):
    yield from samples(rng)
    for of in (KL, NLL):
        yield from terms(rng, of)
    yield from losses(rng)


def uniform(rng, low, high, *shape):
    return low + (high - low) * torch.rand(shape, generator=rng, dtype=DOUBLE)


def samples(rng):
    def case(see, *shape, name="", mean=2.0, logvar=1.5, dtype=DOUBLE):
        given = [(size * randn(rng, *shape)).to(dtype) for size in (mean, logvar)]
        return Case(f"sample: {see} {name}", of=SAMPLE, kind="sample", see=see, given=given)

    for see in ("noise", "noise without a graph", "seeded noise"):
        yield case(see, 40, 60, mean=0.0, logvar=0.0)
    one = case("noise", 40, 60, name="logvar 1", mean=0.0, logvar=0.0)
    one.given[1] += 1
    yield one
    yield from (case("alike", *shape, name=f"{list(shape)}") for shape in ((6, 5), (3, 2, 4, 5)))
    stretch = case("stretch", 5, 6)
    stretch.given[1] = uniform(rng, -1.8, 1.8, 5, 6)
    yield stretch
    yield case("move", 5, 6)
    yield from (case(see, 4, 3) for see in ("slope by the mean", "slope by the logvar", "generator", "after"))
    yield from (case("dtype", 3, 2, name=str(dtype), dtype=dtype) for dtype in (HALF, BRAIN, SINGLE, DOUBLE))
    for logvar in (-20.0, 20.0):
        extreme = case("range", 20, 20, name=f"{logvar}", mean=0.0, logvar=0.0, dtype=HALF)
        extreme.given[1] += logvar
        yield extreme
        far = case("growth", 2, 3, name=f"{logvar}")
        far.given = [torch.full_like(far.given[0], each) for each in (0.9 * logvar, logvar)]
        yield far
    yield from refusals(rng, SAMPLE, WRONG_SHAPES)


def terms(rng, of):
    def case(see, *shape, name="", sizes=(1.5, 1.5), dtype=DOUBLE, plus=(0, 0), s=None):
        given = [(a + size * randn(rng, *shape)).to(dtype) for a, size in zip(plus, sizes, strict=True)]
        options = [] if of == KL or s is None else [s]
        return Case(f"{of}: {see} {name}", of=of, kind="term", see=see, given=given, options=options)

    for name, shape in SHAPES.items():
        s = uniform(rng, 0.4, 2.5, 1).item()
        if of == KL:
            yield case("value", *shape, name=f"{name}, mean", sizes=(1.5, 0))
            yield case("value", *shape, name=f"{name}, logvar", sizes=(0, 1.5))
            yield case("value", *shape, name=f"{name}, both")
        else:
            yield case("constant", *shape, name=name, s=s)
            yield case("error", *shape, name=name, s=s)
    for dtype in (HALF, BRAIN, SINGLE, DOUBLE):
        yield case("dtype", 2, 3, name=str(dtype), dtype=dtype)
    yield from (case("rounded", 2, 3, name=str(dtype), dtype=dtype) for dtype in (BRAIN, DOUBLE))
    yield case("value", 3, 2, name="tiny", sizes=(0.02, 0.02), s=0.01)
    yield case("value", 2, 1, name="300 in float16", plus=(300, 0), sizes=(1, 0), dtype=HALF)
    yield from (case("difference", 2, 5, name=str(dtype), plus=(-130, -1), dtype=dtype) for dtype in (HALF, BRAIN))
    if of == KL:
        for plus in (-20, -12, 12, 20):
            yield case("value", 2, 1, name=f"logvar {plus}", plus=(0, plus), sizes=(1, 0))
        yield case("value", 2, 1, name="logvar 12 in float16", plus=(0, 12), sizes=(1, 0), dtype=HALF)
    else:
        yield case("value", 3, 2, name="by default")
        yield from (case(see, 2, 3, name=f"s = {s}", s=s) for see in ("constant", "error") for s in (1e-4, 1e4))
    yield from (case(see, 3, 2) for see in ("slopes", "after"))
    yield from refusals(rng, of, WRONG_SHAPES)
    for s in (0.0, -0.5, NAN, INF) if of == NLL else ():
        yield Case(
            f"{of}: noise_std {s}", of=of, kind="term", see="refusal", given=list(randn(rng, 2, 2, 3)), options=[s]
        )


def losses(rng):
    def case(see, x, latents, name="", dtype=DOUBLE, **options):
        given = [randn(rng, *shape).to(dtype) for shape in (x, x, latents, latents)]
        return Case(f"loss: {see} {name}", of=LOSS, kind="loss", see=see, given=given, options=options)

    for name, x, latents in (("one", (1, 1), (1, 1)), ("batch", (4, 1), (4, 1)), ("images", (3, 2, 4, 5), (3, 2, 3))):
        yield from (case(see, x, latents, name, noise_std=0.5, beta=0.25) for see in ("NLL", "KL", "constant", "whole"))
    yield case("whole", (3, 4), (3, 2), "by default")
    yield from (case("KL", (3, 4), (3, 2), f"beta {beta}", beta=beta) for beta in (0, 1, 4.0))
    yield from (case("constant", (3, 4), (3, 2), f"s {s}", noise_std=s) for s in (0.05, 3.0))
    yield from (case("dtype", (2, 3), (2, 2), str(dtype), dtype=dtype) for dtype in (HALF, BRAIN, SINGLE, DOUBLE))
    yield from (case(see, (2, 3), (2, 2)) for see in ("slopes", "after"))
    for beta in (-1.0, -1e-9, NAN, INF):
        yield case("refusal", (2, 3), (2, 2), f"beta {beta}", beta=beta)
    yield from (case("refusal", (2, 3), (2, 2), f"noise_std {s}", noise_std=s) for s in (0.0, -0.5, NAN, INF))
    yield from (case("refusal", (n, 3), (m, 2), f"{n} and {m}") for n, m in ((3, 1), (1, 3), (3, 2)))


def refusals(rng, of, shapes):
    for one, two in shapes:
        given = [randn(rng, *one), randn(rng, *two)]
        kind = "sample" if of == SAMPLE else "term"
        yield Case(f"{of}: {one} and {two}", of=of, kind=kind, see="refusal", given=given, options=[])


def run(kata, case):
    """The evidence. Any error but a ValueError is one and the same: which one it is depends on how the code is written."""
    given = [each.clone() for each in case.given]
    function = getattr(kata, case.of)
    try:
        seen = globals()[f"see_{case.kind}"](function, case, given)
    except (ValueError, NotImplementedError):
        raise
    except Exception as error:
        if case.see != "refusal" and type(error) is not RuntimeError:
            raise
        seen = {"result": "none"}
    return {"refused": False} if case.see == "refusal" else seen


def after(case, given):
    return {"after": [Pairs(one, other) for one, other in zip(given, case.given, strict=True)]}


def see_sample(function, case, given):
    mean, logvar = given
    if case.see == "refusal":
        return function(mean, logvar)
    if case.see.startswith("slope"):
        leaf = given["mean" not in case.see]
        got = function(mean.requires_grad_(), logvar.requires_grad_())
        slope = torch.autograd.grad(got.sum(), leaf, allow_unused=True)[0] if got.requires_grad else None
        if slope is None:
            return {"slope": "none"}
        return {"slope": slope if leaf is mean else slope / (got - mean).detach()}
    if case.see == "generator":
        before = torch.random.get_rng_state()
        first, again, other = (function(mean, logvar, generator=torch.Generator().manual_seed(s)) for s in (1, 1, 2))
        moved = Pairs(before, torch.random.get_rng_state())
        return {"again": Pairs(first, again), "other": Pairs(first, other), "global": moved}

    def seeded(mean, logvar):
        """A draw whose noise is the same each time, wherever it comes from."""
        torch.default_generator.manual_seed(7)
        np.random.seed(7)
        return function(mean, logvar, generator=torch.Generator().manual_seed(7))

    zero = torch.zeros_like(mean)
    if case.see == "stretch":
        return {"stretch": (seeded(zero, logvar) / seeded(zero, zero)).float()}
    if case.see == "growth":
        near, far = (seeded(zero, each).abs() for each in given)
        return {"growth": bool((far > near).all()), "shrinking": bool((far < near).all())}
    if case.see == "move":
        return {"move": seeded(mean, logvar) - seeded(zero, logvar)}
    if case.see == "noise without a graph":
        with torch.no_grad():
            got = function(mean.requires_grad_(), logvar.requires_grad_())
    else:
        options = {"generator": torch.Generator().manual_seed(3)} if case.see == "seeded noise" else {}
        got = function(mean, logvar, **options)
    if "noise" in case.see:
        many = len(got.unique()) > 0.4 * got.numel()
        return {"noise": Draws(torch.bucketize(got.nan_to_num(0), EDGES), len(EDGES) + 1) if many else "few"}
    if case.see == "alike":
        noise, following = ((each - mean) / (logvar / 2).exp() for each in (got, function(mean, logvar)))
        spread = [bool(noise.std(axis).min() > 1e-9) for axis in range(noise.dim())]
        return {"spread": spread, "next": bool((noise - following).abs().min() > 1e-12)}
    if case.see == "range":
        return {"finite": bool(got.isfinite().double().mean() > 0.9), "zero": bool((got == 0).double().mean() > 0.5)}
    return after(case, given) if case.see == "after" else {"dtype": str(got.dtype)}


def see_term(function, case, given):
    a, b = given
    if case.see == "slopes":
        return slopes(function, given, case.options)
    if case.see == "constant":
        return {"constant": function(b, b.clone(), *case.options)}
    got = function(a, b, *case.options)
    if case.see == "error":
        return {"error": got - function(b, b.clone(), *case.options)}
    if case.see == "rounded":
        return {"rounded": bool((got == got.to(BRAIN if a.dtype == BRAIN else SINGLE)).all())}
    return (
        {"dtype": str(got.dtype)}
        if case.see == "dtype"
        else after(case, given)
        if case.see == "after"
        else {"value": got}
    )


def see_loss(function, case, given):
    x, r, mean, logvar = given
    if case.see == "slopes":
        return slopes(function, given, [])
    if case.see in ("NLL", "KL", "constant"):
        zero = torch.zeros_like(mean)
        base = function(x, x.clone(), zero, zero.clone(), **case.options)
        if case.see == "constant":
            return {"constant": base}
        args = (x, r, zero, zero.clone()) if case.see == "NLL" else (x, x.clone(), mean, logvar)
        return {case.see: function(*args, **case.options) - base}
    got = function(*given, **case.options)
    return (
        {"dtype": str(got.dtype)}
        if case.see == "dtype"
        else after(case, given)
        if case.see == "after"
        else {"whole": got}
    )


def slopes(function, given, options):
    """The gradients of the result, whose elements are weighed by 1, 2, ...; or that there is none."""
    leaves = [each.requires_grad_() for each in given]
    got = function(*leaves, *options)
    if not got.requires_grad:
        return {"graph": False}
    weights = torch.arange(1.0, 1.0 + got.numel()).reshape(got.shape).to(got)
    grads = torch.autograd.grad((weights * got).sum(), leaves, allow_unused=True)
    return {"slopes": ["none" if grad is None else grad for grad in grads]}
