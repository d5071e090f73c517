"""What can be seen of a VAE's loss. Of a sample: its noise, and how mean and logvar move and stretch it, from draws under one
seed. Of the terms: each part alone (the mean, the logvar, the error, the constant). Of the loss: how much of each term is in it."""

import numpy as np
import torch

from dojo.testing import randn
from dojo.testing.probes import Case, Draws, Pairs

SAMPLE, KL, NLL, LOSS = "reparameterize", "kl_to_standard_normal", "gaussian_nll", "negative_elbo"
HALF, BRAIN, SINGLE, DOUBLE = DTYPES = torch.float16, torch.bfloat16, torch.float32, torch.float64
SIZES = torch.tensor([0.003, 0.01, 0.03, 0.1, 0.3, 0.6, 1, 1.5, 2, 2.5, 3], dtype=DOUBLE)
EDGES = torch.cat([-SIZES.flip(0), SIZES])
SHAPES = {"one": (4, 1), "single": (1, 3), "vectors": (4, 3), "images": (2, 3, 4, 5)}
LOSSES = {"one": ((1, 1), (1, 1)), "batch": ((4, 1), (4, 1)), "images": ((3, 2, 4, 5), (3, 2, 3))}
WRONG_SHAPES = [
    ((3, 2), (1, 2)),
    ((3, 2), (3, 1)),
    ((3, 1), (3, 2)),
    ((1, 2), (3, 2)),
    ((3, 2), (2,)),
    ((3, 2), (2, 3)),
    ((3, 4), (3, 2, 2)),
    ((3, 2), (3, 2, 1)),
]
WRONG_NUMBERS = {"negative": (-0.5, -1e-9), "NaN": (float("nan"),), "infinite": (float("inf"),)}


def uniform(rng, low, high, *shape):
    return low + (high - low) * torch.rand(shape, generator=rng, dtype=DOUBLE)


def cases(rng):
    yield from samples(rng)
    yield from terms(rng, KL)
    yield from terms(rng, NLL)
    yield from losses(rng)


def samples(rng):
    def case(see, *shape, name="", scale=1.0, plus=0.0, dtype=DOUBLE):
        given = 2 * scale * randn(rng, *shape), plus + scale * uniform(rng, -1.8, 1.8, *shape)
        return Case(f"sample: {see} {name}", of=SAMPLE, see=see, given=[each.to(dtype) for each in given])

    for see in ("noise", "noise without a graph", "seeded noise"):
        yield case(see, 40, 60, scale=0.0)
    yield case("noise", 40, 60, name="logvar 1", scale=0.0, plus=1.0)
    yield from (case("alike", *shape, name=f"{list(shape)}") for shape in ((6, 5), (3, 2, 4, 5)))
    yield from (case(see, 5, 6) for see in ("stretch", "move", "slope by the mean", "slope by the logvar"))
    yield from (case(see, 4, 3) for see in ("generator", "global stream", "after"))
    yield from (case("dtype", 3, 2, name=str(dtype), dtype=dtype) for dtype in DTYPES)
    yield case("rounded", 3, 4)
    for logvar in (-20.0, 20.0):
        yield case("range", 20, 20, name=f"{logvar}", scale=0.0, plus=logvar, dtype=HALF)
        yield case("growth", 2, 3, name=f"{logvar}", scale=0.0, plus=logvar)
    yield refusals(rng, SAMPLE, "shapes", WRONG_SHAPES)


def refusals(rng, of, name, shapes=(), **options):
    """One case for all calls that are wrong in the same way."""
    calls = [[randn(rng, *shape) for shape in each] for each in shapes]
    return Case(f"{of}: wrong {name}", of=of, see="refusals", given=calls, options=options)


def terms(rng, of):
    def case(see, *shape, name="", sizes=(1.5, 1.5), dtype=DOUBLE, plus=(0, 0), s=None):
        given = [(a + size * randn(rng, *shape)).to(dtype) for a, size in zip(plus, sizes, strict=True)]
        return Case(f"{of}: {see} {name}", of=of, see=see, given=given, options=[] if of == KL or s is None else [s])

    for name, shape in SHAPES.items():
        s = uniform(rng, 0.4, 2.5, 1).item()
        for see, sizes in (
            (("mean", (1.5, 0)), ("logvar", (0, 1.5))) if of == KL else (("constant", (1, 1)), ("error", (1, 1)))
        ):
            yield case("value" if of == KL else see, *shape, name=f"{name}, {see}", sizes=sizes, s=s)
    yield case("value", 4, 1, name="both", s=0.7)
    yield case("value", 3, 2, name="tiny", sizes=(0.02, 0.02))
    yield from (case("dtype", 2, 3, name=str(dtype), dtype=dtype) for dtype in DTYPES)
    yield from (case("rounded", 2, 3, name=str(dtype), dtype=dtype) for dtype in (BRAIN, DOUBLE))
    yield case("value", 2, 1, name="300 in float16", plus=(300, 0), sizes=(1, 0), dtype=HALF)
    yield case("value", 2, 2, name="far apart in bfloat16", plus=(-130, -1), dtype=BRAIN)
    if of == KL:
        yield from (case("value", 2, 1, name=f"logvar {at}", plus=(0, at), sizes=(1, 0)) for at in (-20, -12, 12, 20))
        yield case("value", 2, 1, name="logvar 12 in float16", plus=(0, 12), sizes=(1, 0), dtype=HALF)
    else:
        yield from (case(see, 2, 3, name=f"s = {s}", s=s) for see in ("constant", "error") for s in (1e-4, 1e4))
        yield from numbers_refused(rng, of, [(2, 3), (2, 3)], "noise_std")
        yield refusals(rng, of, "noise_std, 0", [[(2, 3), (2, 3)]], noise_std=[0.0])
    yield from (case(see, 3, 2) for see in ("slopes", "after"))
    yield refusals(rng, of, "shapes", WRONG_SHAPES)


def numbers_refused(rng, of, shapes, name):
    for kind, values in WRONG_NUMBERS.items():
        yield refusals(rng, of, f"{name}, {kind}", [shapes], **{name: list(values)})


def losses(rng):
    def case(see, x, latents, name="", dtype=DOUBLE, **options):
        given = [randn(rng, *shape).to(dtype) for shape in (x, x, latents, latents)]
        return Case(f"loss: {see} {name}", of=LOSS, see=see, given=given, options=options)

    for name, shapes in LOSSES.items():
        yield from (case(see, *shapes, name, noise_std=0.5, beta=0.25) for see in ("NLL", "KL", "constant"))
    yield case("value", (3, 4), (3, 2), "by default")
    yield case("value", (3, 4), (3, 2), "with options", noise_std=0.5, beta=2.5)
    yield from (case("KL", (3, 4), (3, 2), f"beta {beta}", beta=beta) for beta in (0, 1, 4.0))
    yield from (case("constant", (3, 4), (3, 2), f"s {s}", noise_std=s) for s in (0.05, 3.0))
    yield from (case("dtype", (2, 3), (2, 2), str(dtype), dtype=dtype) for dtype in DTYPES)
    yield from (case(see, (2, 3), (2, 2)) for see in ("slopes", "after"))
    right = [(2, 3), (2, 3), (2, 2), (2, 2)]
    yield from numbers_refused(rng, LOSS, right, "beta")
    yield refusals(rng, LOSS, "noise_std", [right], noise_std=[-0.5, float("nan"), float("inf")])
    batches = [[(n, 3), (n, 3), (m, 2), (m, 2)] for n, m in ((3, 1), (1, 3), (3, 2))]
    yield refusals(rng, LOSS, "batches", batches)


def run(kata, case):
    """The evidence. Whatever error there is, is one and the same: which one it is depends on how the code is written."""
    if case.see == "refusals":
        return refused(getattr(kata, case.of), case)
    see = {SAMPLE: see_sample, LOSS: see_loss}.get(case.of, see_term)
    try:
        return see(kata, case, [each.clone() for each in case.given])
    except NotImplementedError:
        raise
    except (ValueError, RuntimeError) as error:
        return {"result": "refused" if isinstance(error, ValueError) else "none"}


def refused(function, case):
    """Which of the wrong calls end in a ValueError."""
    name, values = next(iter(case.options.items()), ("", [None]))
    answers = []
    for given in case.given:
        for value in values:
            try:
                function(*(each.clone() for each in given), **({name: value} if name else {}))
                answers.append(False)
            except NotImplementedError:
                raise
            except Exception as error:
                answers.append(isinstance(error, ValueError))
    return {"refused": answers}


def plain(x):
    """A tensor in float32, so that the dtype is evidence of its own cases only."""
    return x.float() if isinstance(x, torch.Tensor) else x


def seen(case, got, given):
    if case.see == "after":
        return {"after": [Pairs(one, other) for one, other in zip(given, case.given, strict=True)]}
    return {"dtype": str(got.dtype)} if case.see == "dtype" else {"value": plain(got)}


def see_sample(kata, case, given):
    function, (mean, logvar) = kata.reparameterize, given

    def seeded(mean, logvar):
        """A draw whose noise is the same each time, wherever it comes from."""
        torch.default_generator.manual_seed(7)
        np.random.seed(7)
        return function(mean, logvar, generator=torch.Generator().manual_seed(7))

    zero = torch.zeros_like(mean)
    if case.see.startswith("slope"):
        leaf = given["mean" not in case.see]
        got = function(mean.requires_grad_(), logvar.requires_grad_())
        slope = torch.autograd.grad(got.sum(), leaf, allow_unused=True)[0] if got.requires_grad else None
        slope = slope if slope is None or leaf is mean else slope / (got - mean).detach()
        return {"slope": "none" if slope is None else plain(slope)}
    if case.see == "stretch":
        return {"stretch": plain(seeded(zero, logvar) / seeded(zero, zero))}
    if case.see == "growth":
        near, far = (seeded(zero, each).abs() for each in (0.9 * logvar, logvar))
        return {"growth": bool((far > near).all()), "shrinking": bool((far < near).all())}
    if case.see == "move":
        return {"move": plain(seeded(mean, logvar) - seeded(zero, logvar))}
    if case.see in ("generator", "global stream"):
        before = torch.random.get_rng_state()
        first, again, other = (function(mean, logvar, generator=torch.Generator().manual_seed(s)) for s in (1, 1, 2))
        if case.see == "global stream":
            return {"moved": Pairs(before, torch.random.get_rng_state())}
        one = torch.Generator().manual_seed(1)
        moves = not torch.equal(*(function(mean, logvar, generator=one) for _ in range(2)))
        return {"again": Pairs(first, again), "other": Pairs(first, other), "moves": moves}
    if case.see == "noise without a graph":
        with torch.no_grad():
            got = function(mean.requires_grad_(), logvar.requires_grad_())
    else:
        got = function(
            mean, logvar, **({"generator": torch.Generator().manual_seed(3)} if "seeded" in case.see else {})
        )
    if "noise" in case.see:
        many = len(got.unique()) > 0.4 * got.numel()
        return {"noise": Draws(torch.bucketize(got.nan_to_num(0), EDGES), len(EDGES) + 1) if many else "few"}
    if case.see == "alike":
        noise, following = ((each - mean) / (logvar / 2).exp() for each in (got, function(mean, logvar)))
        spread = [bool(noise.std(axis).min() > 1e-9) for axis in range(noise.dim())]
        return {"spread": spread, "next": bool((noise - following).abs().min() > 1e-12)}
    if case.see == "rounded":
        return {"rounded": bool((got == got.float()).all())}
    if case.see == "range":
        return {"finite": bool(got.isfinite().double().mean() > 0.9), "zero": bool((got == 0).double().mean() > 0.5)}
    return seen(case, got, given)


def see_term(kata, case, given):
    function, (a, b) = getattr(kata, case.of), given
    if case.see == "slopes":
        return slopes(function, given, case.options)
    if case.see == "constant":
        return {"constant": plain(function(b, b.clone(), *case.options))}
    got = function(a, b, *case.options)
    if case.see == "error":
        return {"error": plain(got - function(b, b.clone(), *case.options))}
    if case.see == "rounded":
        return {"rounded": bool((got == got.to(BRAIN if a.dtype == BRAIN else SINGLE)).all())}
    return seen(case, got, given)


def see_loss(kata, case, given):
    """NLL, KL and the constant as multiples of what the own terms say, where those have one number for each element."""
    function, (x, r, mean, logvar), options = kata.negative_elbo, given, case.options
    std = [options["noise_std"]] if "noise_std" in options else []
    own = [kata.gaussian_nll(*pair, *std) for pair in ((x, r), (x, x.clone()))]
    own_kl = kata.kl_to_standard_normal(mean, logvar)
    if [list(each.shape) for each in (*own, own_kl)] != [[len(x)]] * 3:
        return {"terms": "of other shapes"}
    if case.see == "slopes":
        return slopes(function, given, [])
    if case.see not in ("NLL", "KL", "constant"):
        return seen(case, function(*given, **options), given)
    zero = torch.zeros_like(mean)
    base = function(x, x.clone(), zero, zero.clone(), **options)
    if case.see == "constant":
        return {"constant": plain(base / own[1].mean())}
    if case.see == "NLL":
        return {"NLL": plain((function(x, r, zero, zero.clone(), **options) - base) / (own[0] - own[1]).mean())}
    own_kl = own_kl - kata.kl_to_standard_normal(zero, zero.clone())
    return {"KL": plain((function(x, x.clone(), mean, logvar, **options) - base) / own_kl.mean())}


def slopes(function, given, options):
    """The gradients of the result, whose elements are weighed by 1, 2, ...; or that there is none."""
    leaves = [each.requires_grad_() for each in given]
    got = function(*leaves, *options)
    if not got.requires_grad:
        return {"graph": False}
    weights = torch.arange(1.0, 1.0 + got.numel()).reshape(got.shape).to(got)
    grads = torch.autograd.grad((weights * got).sum(), leaves, allow_unused=True)
    return {"slopes": ["none" if grad is None else plain(grad) for grad in grads]}
