"""What can be seen of a VAE's loss. Of a sample: its noise, and how mean and logvar move and stretch it, from draws under one
seed. Of the terms: each part alone (the mean, the logvar, the error, the constant). Of the loss: how much of each term is in it."""

from functools import partial

import torch

from dojo.testing import randn
from dojo.testing.evidence import attempted, copied, gradients, normal_draws, refused, seeded, unchanged
from dojo.testing.probes import Case, Pairs

SAMPLE, KL, NLL, LOSS = "reparameterize", "kl_to_standard_normal", "gaussian_nll", "negative_elbo"
HALF, BRAIN, SINGLE, DOUBLE = torch.float16, torch.bfloat16, torch.float32, torch.float64
NAN, INF = float("nan"), float("inf")
SHAPES = {"one": (4, 1), "single": (1, 3), "vectors": (4, 3), "images": (2, 3, 4, 5)}
LOSSES = {"one": ((1, 1), (1, 1)), "batch": ((4, 1), (4, 1)), "images": ((3, 2, 4, 5), (3, 2, 3))}
PARTS = [(KL, "value", "of means", (1.5, 0)), (KL, "value", "of logvars", (0, 1.5))]
PARTS += [(NLL, "constant", "", (1, 1)), (NLL, "error", "", (1, 1))]
SHARES = [("share", "NLL", (1, 1, 0, 0)), ("share", "KL", (0, 0, 1, 1)), ("base", "", (0, 0, 0, 0))]
OPTIONS = [{"beta": 0}, {"beta": 1}, {"beta": 4.0}, {"noise_std": 0.05}, {"noise_std": 3.0}]
LOGVARS = [(-20, DOUBLE), (-12, DOUBLE), (12, DOUBLE), (20, DOUBLE), (12, HALF)]
RIGHT = {SAMPLE: [(2, 3)] * 2, KL: [(2, 3)] * 2, NLL: [(2, 3)] * 2, LOSS: [(2, 3)] * 2 + [(2, 2)] * 2}
UNEQUAL = [((3, 2), other) for other in ((1, 2), (3, 1), (2,), (2, 3), (3, 2, 1))]
UNEQUAL += [((3, 1), (3, 2)), ((1, 2), (3, 2)), ((3, 4), (3, 2, 2))]
BATCHES = [((n, 3), (n, 3), (m, 2), (m, 2)) for n, m in ((3, 1), (1, 3), (3, 2))]
WRONG = {(NLL, "noise_std"): (-0.5, -1e-9, 0.0, NAN, INF), (LOSS, "noise_std"): (-0.5, NAN, INF)}
WRONG |= {(LOSS, "beta"): (-0.5, -1e-9, NAN, INF)}


def cases(rng):
    for part in (samples, terms, losses):
        yield from part(rng)
    for of, shapes in RIGHT.items():
        yield from (case(rng, of, see, shapes) for see in ("rounded", "after", "slopes")[: 2 if of == SAMPLE else 3])
        yield from (case(rng, of, "dtype", shapes, str(dtype), dtype=dtype) for dtype in (HALF, BRAIN, SINGLE, DOUBLE))
        wrong = [[randn(rng, *shape) for shape in each] for each in (BATCHES if of == LOSS else UNEQUAL)]
        yield Case(f"{of}: wrong shapes", of=of, see="refused", calls=wrong, options={})
    for (of, name), values in WRONG.items():
        right = [randn(rng, *shape) for shape in RIGHT[of]]
        yield from (Case(f"{of}: {name} {x}", of=of, see="refused", calls=[right], options={name: x}) for x in values)


def case(rng, of, see, shapes, name="", spread=(1, 1, 1, 1), plus=(0, 0, 0, 0), dtype=DOUBLE, **options):
    """A call with random arguments of these shapes."""
    sizes = zip(shapes, spread, plus, strict=False)
    given = [(middle + size * randn(rng, *shape)).to(dtype) for shape, size, middle in sizes]
    return Case(f"{of}: {see} {name}", of=of, see=see, given=given, options=options)


def samples(rng):
    for see in ("noise", "noise without a graph", "seeded noise"):
        yield case(rng, SAMPLE, see, [(40, 60)] * 2, spread=(0, 0))
    yield case(rng, SAMPLE, "noise", [(40, 60)] * 2, "at logvar 1", spread=(0, 0), plus=(0, 1))
    yield case(rng, SAMPLE, "alike", [(3, 2, 4, 5)] * 2)
    for see in ("stretch", "move", "slope by the mean", "slope by the logvar", "generator"):
        yield case(rng, SAMPLE, see, [(5, 6)] * 2, spread=(2, 1))
    for logvar, near in ((-20, -15), (20, 15)):  # Stable Diffusion's limits for a logvar, -30 and 20, are no mistake
        yield case(rng, SAMPLE, "range", [(20, 20)] * 2, f"{logvar}", spread=(0, 0), plus=(0, logvar), dtype=HALF)
        yield case(rng, SAMPLE, "stretch", [(2, 3)] * 2, f"{near}", plus=(0, near))


def terms(rng):
    for of, see, part, spread in PARTS:
        for name, shape in SHAPES.items():
            options = {"noise_std": 0.4 + 2 * torch.rand(1, generator=rng).item()} if of == NLL else {}
            yield case(rng, of, see, [shape] * 2, f"{part}, {name}", spread, **options)
        for s in (1e-4, 1e4) if of == NLL else ():
            yield case(rng, of, see, [(2, 3)] * 2, f"at s = {s}", noise_std=s)
    for of in (KL, NLL):
        yield case(rng, of, "value", [(4, 1)] * 2)
        yield case(rng, of, "value", [(3, 2)] * 2, "tiny", spread=(0.02, 0.02))
        yield case(rng, of, "rounded", [(2, 3)] * 2, "in bfloat16", dtype=BRAIN)
        yield case(rng, of, "value", [(2, 1)] * 2, "300 in float16", spread=(1, 0), plus=(300, 0), dtype=HALF)
        yield case(rng, of, "value", [(2, 2)] * 2, "far apart in bfloat16", plus=(-130, -1), dtype=BRAIN)
    for at, dtype in LOGVARS:
        yield case(
            rng, KL, "value", [(2, 1)] * 2, f"at logvar {at} in {dtype}", spread=(1, 0), plus=(0, at), dtype=dtype
        )


def losses(rng):
    shapes = [(3, 4)] * 2 + [(3, 2)] * 2
    for see, part, spread in SHARES:
        for name, (x, z) in LOSSES.items():
            yield case(rng, LOSS, see, [x, x, z, z], f"{part}, {name}", spread, noise_std=0.5, beta=0.25)
        yield from (case(rng, LOSS, see, shapes, f"{part} at {options}", spread, **options) for options in OPTIONS)
    yield case(rng, LOSS, "value", shapes, "by default")
    yield case(rng, LOSS, "value", shapes, "with options", noise_std=0.5, beta=2.5)


def run(kata, case):
    function = partial(getattr(kata, case.of), **case.options)
    if case.see == "refused":
        return {"refused": [refused(partial(function, *given)) for given in case.calls]}
    seen = attempted(lambda: see(kata, function, case, copied(case.given)))
    return {case.see: seen.float() if torch.is_tensor(seen) else seen}  # a dtype is evidence of its own cases only


def see(kata, function, case, given):
    if case.of == SAMPLE and case.see not in ("dtype", "after", "rounded"):
        return see_sample(function, case.see, *given)
    if case.of == LOSS and (share := see_share(kata, function, case, *given)) is not None:
        return share
    if case.see == "slopes":
        leaves = [each.requires_grad_() for each in given]
        return gradients(function(*leaves), leaves)
    if case.see in ("constant", "error"):
        constant = function(given[1], given[1].clone())
        return constant if case.see == "constant" else function(*given) - constant
    got, narrow = function(*given), BRAIN if given[0].dtype == BRAIN else SINGLE
    seen = {"value": got, "after": unchanged(given, case.given), "dtype": str(got.dtype)}
    return (seen | {"rounded": bool((got == got.to(narrow)).all())})[case.see]


def see_share(kata, loss, case, x, r, mean, logvar):
    """The loss, or what NLL or KL add to it, as a multiple of what the own terms say; None where another thing is seen."""
    zero, std = torch.zeros_like(mean), [case.options["noise_std"]] if "noise_std" in case.options else []
    nll, kl = kata.gaussian_nll(x, r, *std), kata.kl_to_standard_normal(mean, logvar)
    if not nll.shape == kl.shape == x.shape[:1]:
        return "terms of other shapes"
    if case.see == "base":
        return loss(x, r, mean, logvar) / nll.mean()
    if case.see == "share":
        none = kata.gaussian_nll(x, x.clone(), *std) + kata.kl_to_standard_normal(zero, zero.clone())
        return (loss(x, r, mean, logvar) - loss(x, x.clone(), zero, zero.clone())) / (nll + kl - none).mean()


def see_sample(draw, see, mean, logvar):
    zero, generators = torch.zeros_like(mean), [torch.Generator().manual_seed(seed) for seed in (1, 1, 2)]
    if see == "stretch":
        return seeded(draw, zero, logvar) / seeded(draw, zero, zero)
    if see == "move":
        return seeded(draw, mean, logvar) - seeded(draw, zero, logvar)
    if see == "generator":
        before = torch.random.get_rng_state()
        first, *others = (draw(mean, logvar, generator=each) for each in (*generators, generators[0]))
        return [Pairs(first, each) for each in others], Pairs(before, torch.random.get_rng_state())
    options = {"generator": generators[2]} if see == "seeded noise" else {}
    with torch.set_grad_enabled(see != "noise without a graph"):
        got = draw(mean.requires_grad_(), logvar.requires_grad_(), **options)
    if see == "slope by the mean":
        return gradients(got, [mean])
    if see == "slope by the logvar":
        return gradients(got / (got - mean).detach(), [logvar])
    if see == "alike":  # along an axis, or with the next draw
        noise, following = ((each - mean) / (logvar / 2).exp() for each in (got, draw(mean, logvar)))
        return [bool(noise.std(axis).min() > 1e-9) for axis in range(4)], bool((noise - following).abs().min() > 1e-12)
    if see == "range":
        return bool(got.isfinite().double().mean() > 0.9), bool((got == 0).double().mean() > 0.5)
    return normal_draws(got)
