"""What can be seen of the norms: values, gradients by hand, and what they cost."""

import torch

from dojo.testing import randint, randn
from dojo.testing.cost import measure
from dojo.testing.probes import Case, Pairs

FORBIDDEN = (
    "rms_norm",
    "_fused_rms_norm",
    "layer_norm",
    "native_layer_norm",
    "group_norm",
    "native_group_norm",
    "batch_norm",
    "native_batch_norm",
    "instance_norm",
    "torch.nn.RMSNorm",
    "torch.nn.LayerNorm",
    "torch.nn.GroupNorm",
    "torch.autograd",
    "torch.func",
)
RMS, LAYER, ADD, RMS_BACK, LAYER_BACK = (
    "rms_norm",
    "layer_norm",
    "add_rms_norm",
    "rms_norm_backward",
    "layer_norm_backward",
)
TENSORS = {
    RMS: ("x", "weight"),
    LAYER: ("x", "weight", "bias"),
    ADD: ("x", "residual", "weight"),
    RMS_BACK: ("grad", "x", "weight"),
    LAYER_BACK: ("grad", "x", "weight"),
}
HALF, BRAIN = torch.float16, torch.bfloat16


def cases(rng):
    for of in TENSORS:
        yield from cases_of(of, rng)


def cases_of(of, rng):
    def case(name, *shape, eps=0.3, scale=1.0, dtype=torch.float64, weight_dtype=None):
        given = {n: randn(rng, *(shape[-1:] if n in ("weight", "bias") else shape)).to(dtype) for n in TENSORS[of]}
        given["x"] = given["x"] * scale
        given["weight"] = given["weight"].to(weight_dtype or dtype)
        if dtype in (HALF, BRAIN) and of == LAYER:
            given["bias"] *= 0  # it could cancel most of a row whose roundings are free
        return Case(f"{of}: {name}", of=of, eps=eps, **given)

    for shape in ((5,), (4, 6), (6, 6), (2, 3, 4), (3, 1)):
        yield case(f"{list(shape)}", *shape)
    yield case("no eps", 4, 6, eps=0.0)
    default = case("the default eps", 4, 6, eps=None)
    default.x *= 2e-3
    yield default
    zeros = case("zeros", 4, 6, eps=0.25)
    zeros.x[1] = 0.0
    yield zeros
    yield case("large", 3, 8, scale=1e4)
    high = case("a large mean", 3, 4, dtype=torch.float32, eps=1e-5)
    offsets = 1 + 2 * randint(rng, 0, 4, 3, 2)
    high.x[:] = 16384 + torch.cat([offsets, -offsets], -1)[:, torch.randperm(4, generator=rng)]
    yield high
    for dtype, scale in ((HALF, 3000.0), (BRAIN, 1.0), (HALF, 1e-4)):
        yield case(f"{dtype}, {scale:g}", 3, 8, eps=1e-12, scale=scale, dtype=dtype)
    yield case("float32 weight", 3, 8, dtype=HALF, weight_dtype=torch.float32)
    many = case("many rows, half", 24, 4, dtype=HALF, weight_dtype=torch.float32)
    many.x[:], many.weight[:] = torch.tensor([1.0, -1, 1, -1]), torch.tensor([1.0, 2, 1, 2])
    if "grad" in TENSORS[of]:
        many.grad[:] = 8192.0
    yield many
    loud = case("a large product, half", 3, 4, dtype=HALF)
    loud.x[:], loud.weight[:] = torch.tensor([2048.0, -2048, -2048, 2048]), 512.0
    if "grad" in TENSORS[of]:
        loud.grad[:] = torch.tensor([256.0, 0, 0, 0])
    yield loud
    for name in ("weight", "bias") if of == LAYER else ("weight",):
        for size in ((3,), (1,), (4, 6)):
            wrong = case(f"{name} of {list(size)}", 4, 6)
            setattr(wrong, name, randn(rng, *size))
            yield wrong
    for eps in (-1e-6, float("nan")):
        yield case(f"eps={eps}", 4, 6, eps=eps)
    yield case("cost", 64, 48)


def run(kata, case):
    function, names = getattr(kata, case.of), TENSORS[case.of]
    given = [getattr(case, name).clone() for name in names]
    options = {} if case.eps is None else {"eps": case.eps}
    with torch.inference_mode():
        results = function(*given, **options)
    seen = {"results": [r.clone() for r in results] if isinstance(results, tuple) else results.clone()}
    seen |= {f"{name} after": Pairs(tensor, getattr(case, name)) for name, tensor in zip(names, given, strict=True)}
    if not case.name.endswith("cost"):
        return seen
    with measure() as few:
        function(*(t[:2] if t.dim() > 1 else t for t in given), **options)
    with measure() as spent:
        function(*given, **options)
    passes = {RMS: 8.5, LAYER: 13.5, ADD: 13.5}.get(case.of, 99)
    seen["lean"] = spent.bytes <= (passes + 0.2) * case.x.nbytes and spent.largest <= case.x.numel()
    return seen | {"loop": spent.operators > few.operators + 5}
