"""What can be seen of new words: the start, rows and their gradients, training, the merged table, the loss."""

import torch
from torch import nn

from dojo.testing import randint, randn
from dojo.testing.cost import measure
from dojo.testing.probes import Case, Pairs

INIT, FORWARD, MERGED = ("LearnedTokens" + part for part in ("", ".forward", ".merged"))
LOSS, OPTIONS = "prior_preservation_loss", ("padding_idx", "scale_grad_by_freq", "sparse")
HALF, BRAIN, FLOAT, DOUBLE, NAN = torch.float16, torch.bfloat16, torch.float32, torch.float64, float("nan")
IDS = {"old": [1, 6, 3], "row 0": [0], "last old": [6], "first new": [7], "last new": [8], "mixed": [8, 0, 7, 2, 7]}
IDS |= {"matrix": [[0, 8, 1], [7, 3, 2]], "one id": 2, "one new id": 8, "none": [], "only new": [7, 8, 7]}
SHAPES = [((4, 3), (4, 1)), ((4, 3), (2, 3)), ((4, 6), (4, 3, 2)), ((4, 3), (3,)), ((4, 3), ()), ((1, 3), (4, 3))]
SHAPES += [(shape, shape) for shape in ((3, 2), (5,), (0, 3), ())]
OPTIMIZERS = {"AdamW": torch.optim.AdamW, "SGD": lambda p, **options: torch.optim.SGD(p, momentum=0.9, **options)}
WEIGHTS = [(2,), (1,), (), (4, 1), (1, 4), (5,)]


def cases(rng):
    yield from words(rng)
    yield from losses(rng)


def words(rng):
    def case(
        name, of, do, ids=(7, 2, 8, 7), vocab=7, count=2, init_id=0, dtype=FLOAT, frozen=False, more=None, **options
    ):
        given = {"base": 4 * randn(rng, vocab, 3).to(dtype), "new": 4 * randn(rng, max(count, 0), 3).to(dtype)}
        given |= {"ids": torch.tensor(ids).long(), "slope": randn(rng, 4, 3).to(dtype), "options": options}
        return Case(name, of=of, do=do, count=count, init_id=init_id, frozen=frozen, **given | (more or {}))

    for do in ("parameters", "kept", "options", "own memory", "device"):
        yield case(f"start: {do}", INIT, do, padding_idx=2, scale_grad_by_freq=True)
    for frozen in (False, True):
        yield case(f"start: what trains, {frozen=}", INIT, "trains", frozen=frozen)
    for count, init_id, padding in ((1, 3, None), (3, 0, None), (2, 6, None), (2, 4, 4)):
        yield case(
            f"start: {count} from {init_id} {padding}", INIT, "start", (), 7, count, init_id, padding_idx=padding
        )
    yield case("start: half", INIT, "dtype", dtype=BRAIN)
    for count, init_id, most in ((0, 0, None), (-1, 0, None), (1, -1, None), (1, 7, None), (1, 0, 1.0)):
        yield case(f"start: {count=} {init_id=} {most=}", INIT, "error", (), 7, count, init_id, max_norm=most)
    for name, ids in IDS.items():
        yield case(name, FORWARD, "rows", ids)
    yield case("ids afterwards", FORWARD, "ids")
    yield case("a single old row", FORWARD, "rows", (0, 1, 2, 0), 1)
    yield case("padding", FORWARD, "rows", (2, 0, 2), padding_idx=2)
    yield case("in half", FORWARD, "rows", dtype=HALF)
    yield case("other tables", FORWARD, "rows", more={"again": randn(rng, 9, 3)})
    broken = case("beside NaN", FORWARD, "rows", (8, 1, 3))
    broken.base[[0, 6]], broken.new[0] = NAN, NAN
    yield broken
    for name, ids in {"new and old": (7, 0), "old ids alone": (1, 0)}.items():
        yield case(f"graph, {name}", FORWARD, "graph", ids)
    for options in ({}, {"padding_idx": 0}, {"padding_idx": 1}, {"scale_grad_by_freq": True}, {"sparse": True}):
        yield case(f"gradient {options}", FORWARD, "gradient", **options)
    slope = torch.tensor([[1.0], [NAN], [2.0], [3.0]]).repeat(1, 3)
    yield case("gradient beside NaN", FORWARD, "gradient", more={"slope": slope})
    for name in OPTIMIZERS:
        yield case(f"training by {name}", FORWARD, name)
    for wrong in (-1, 9, 50):
        yield case(f"id {wrong}", FORWARD, "error", (0, wrong, 8))
    yield case("cost", FORWARD, "cost", (4096, 2, 4097, 7), 4096)
    for padding in (None, 0, 6):
        yield case(f"merged, padding {padding}", MERGED, "rows", padding_idx=padding)
        flags = {"sparse": padding == 0, "scale_grad_by_freq": padding == 6}
        yield case(f"merged: options, {padding}", MERGED, "options", padding_idx=padding, **flags)
    for do in ("kept", "own memory", "merged after", "trains"):
        yield case(f"merged: {do}", MERGED, do)
    yield case("merged in half", MERGED, "rows", dtype=BRAIN)
    yield case("merged, other tables", MERGED, "rows", more={"again": randn(rng, 9, 3)})


def losses(rng):
    def case(name, samples=4, rest=(3,), dtype=DOUBLE, do="loss", more=None, **given):
        drawn = {key: randn(rng, samples, *rest).to(dtype) for key in ("p", "t")}
        return Case(f"loss {name}", of=LOSS, do=do, given=given, **drawn | (more or {}))

    for n in (1, 3):
        for half, other in (("instance", slice(n, None)), ("class", slice(0, n))):
            for given in ({}, {"prior_weight": 0.3}):
                alone = case(f"of {n}, {half} alone {given}", 2 * n, **given)
                alone.t[other] = alone.p[other]
                yield alone
    yield case("at 0", prior_weight=0.0)
    for rest in ((), (4,), (2, 3, 2)):
        yield case(f"of samples {rest}", rest=rest, prior_weight=0.5)
    for place in (0, 2, 3, 5):
        weights = 3.0 * (torch.arange(6) == place).double()
        yield case(f"weighted, sample {place}", 6, weights=weights, prior_weight=0.5)
    yield case("weighted by 2", weights=2 * torch.ones(4).double())
    yield case("weighted samples of one number", rest=(), weights=randint(rng, 1, 9, 4).double())
    for do in ("cost", "gradient", "after"):
        yield case(do, do=do, weights=torch.ones(4).double())
    for dtype in (HALF, BRAIN, FLOAT):
        yield case(f"in {dtype}", dtype=dtype, do="dtype")
        for pair in ((300.0, -2.0), (6e4, -6e4), (1.0, 1 / 512)):  # 1 - 1 / 512 is 1 in bfloat16
            full = {key: torch.full((2, 3), value).to(dtype) for key, value in zip("pt", pair, strict=True)}
            yield case(f"in {dtype}, {pair}", more=full)
    yield case("of two dtypes", dtype=BRAIN, do="dtype", more={"t": torch.zeros(4, 3)})
    for p, t in SHAPES:
        yield case(f"of shapes {p} {t}", do="error", more={"p": torch.ones(p), "t": torch.zeros(t)})
    for shape in WEIGHTS:
        yield case(f"with weights {shape}", rest=(4,), do="error", weights=torch.ones(shape))
    for wrong in (-0.5, NAN):
        yield case(f"at {wrong}", do="error", prior_weight=wrong)


def run(kata, case):
    of = of_loss if case.of == LOSS else of_words
    if case.do != "error":
        return {case.do: of(kata, case)}
    try:
        of(kata, case)
    except NotImplementedError:
        raise
    except Exception as error:
        return {"error": "ValueError" if isinstance(error, ValueError) else "another"}
    return {"error": "none"}


def of_words(kata, case):
    do, ids, init = case.do, case.ids.clone(), case.of == INIT
    weight = case.base.clone().to("meta" if do == "device" else "cpu")
    base = nn.Embedding(*weight.shape, _weight=weight, **case.options).requires_grad_(not case.frozen)
    weight = base.weight
    layer = kata.LearnedTokens(base, case.count, case.init_id)
    new, own = getattr(layer, "new", None), dict(layer.named_parameters())
    with torch.no_grad():
        init or new.copy_(case.new)
        if hasattr(case, "again"):  # other tables than at the first call
            layer(ids), layer.merged(), weight.copy_(case.again[:7]), new.copy_(case.again[7:])
    table = layer.merged() if case.of == MERGED else base
    see = {
        "parameters": lambda: [sorted([name, list(p.shape)] for name, p in own.items()), sorted(layer.state_dict())],
        "trains": lambda: sorted(name for name, p in own.items() if p.requires_grad),
        "kept": lambda: [layer.base is base, base.weight is weight, layer.new is new, Pairs(weight, case.base)],
        "options": lambda: [type(table).__name__, table.num_embeddings, *(getattr(table, name) for name in OPTIONS)],
        "start": lambda: [list(new.shape), [[torch.equal(row, old) for old in (*case.base, 0 * row)] for row in new]],
        "dtype": lambda: str(new.dtype),
        "device": lambda: new.device.type,
        "own memory": lambda: moved(new[0], weight, *new[1:]) if init else moved(table.weight, weight, new),
        "merged after": lambda: [*moved(new, table.weight), table.weight.is_leaf],
        "rows": lambda: layer(ids) if case.of == FORWARD else table.weight,
        "ids": lambda: [layer(ids).shape, Pairs(ids, case.ids)],
        "graph": lambda: layer(ids).requires_grad,
        "gradient": lambda: gradient(layer(ids), case.slope, new, weight),
        "cost": lambda: cost(layer, [(ids.repeat(n),) for n in (1, 9)], 64),
        "error": lambda: layer(ids),
    }
    return train(layer, case) if do in OPTIMIZERS else see[do]()


def moved(tensor, *others):
    """Whether the others stay as they are when the tensor's elements are changed."""
    before = [other.detach().clone() for other in others]
    with torch.no_grad():
        tensor.add_(1.0)
    return [Pairs(other, old) for other, old in zip(others, before, strict=True)]


def gradient(got, slope, new, weight):
    if got.requires_grad:
        got.backward(slope)
    return ["none" if new.grad is None else [new.grad.to_dense(), str(new.grad.layout)], weight.grad is None]


def train(layer, case):
    optimizer = OPTIMIZERS[case.do]([p for p in layer.parameters() if p.requires_grad], lr=0.1, weight_decay=0.1)
    for _ in range(3):
        (layer(case.ids) - case.slope).square().sum().backward()
        optimizer.step()
    return [Pairs(layer.base.weight, case.base), [torch.equal(*rows) for rows in zip(layer.new, case.new, strict=True)]]


def cost(call, inputs, most):
    """Whether forward and backward are lean, and whether more operators run for a larger input."""
    with measure() as few:
        got = call(*inputs[0])
    with measure() as back:
        got.sum().backward() if got.requires_grad else None
    with measure() as many:
        call(*inputs[1])
    return [few.bytes + back.bytes <= most * got.nbytes, many.operators > few.operators + 2]


def of_loss(kata, case):
    p, t, given = case.p.clone().requires_grad_(), case.t.clone(), {key: value for key, value in case.given.items()}
    free = p * 1  # no leaf, so that changing it is no error
    if case.do == "cost":
        loss = lambda p, t, weights: kata.prior_preservation_loss(p, t, weights=weights)
        return cost(
            loss,
            [[each.detach().repeat(n, *[1] * (each.dim() - 1)) for each in (p, t, given["weights"])] for n in (1, 9)],
            9999,
        )
    got = kata.prior_preservation_loss(free, t, **given)
    if case.do == "gradient":
        return torch.autograd.grad(got, p)[0] if got.requires_grad else "no graph"
    if case.do == "after":
        return [Pairs(free, case.p), Pairs(t, case.t), Pairs(given["weights"], case.given["weights"])]
    return str(got.dtype) if case.do == "dtype" else got
