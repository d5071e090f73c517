"""What can be seen of new words: the start, rows and their gradients, training, the merged table, the loss."""

from functools import partial

import torch
from torch import nn

from dojo.testing import randint, randn
from dojo.testing.cost import measure
from dojo.testing.probes import Case, Pairs

INIT, FORWARD, MERGED = ("LearnedTokens" + part for part in ("", ".forward", ".merged"))
LOSS, OPTIONS = "prior_preservation_loss", ("padding_idx", "scale_grad_by_freq", "sparse")
HALF, BRAIN, DOUBLE, NAN = torch.float16, torch.bfloat16, torch.float64, float("nan")
OPTIMIZERS = {"AdamW": torch.optim.AdamW, "SGD": partial(torch.optim.SGD, momentum=0.9)}
IDS = {"old": [1, 6, 3], "row 0": [0], "last old": [6], "first new": [7], "last new": [9], "mixed": [9, 0, 7, 2, 7]}
IDS |= {"matrix": [[0, 8, 1], [7, 3, 2]], "one id": 2, "one new id": 8, "none": [], "only new": [7, 9, 7, 8]}
STARTS = [
    ("start", 2, None, {}),
    ("start", 1, 3, {}),
    ("start", 3, 0, {}),
    ("start", 2, 6, {}),
    ("start", 2, 4, {"padding_idx": 4}),
]
STARTS += [("error", 0, 0, {}), ("error", -1, 0, {}), ("error", 1, -1, {}), ("error", 1, 7, {})]
STARTS += [("error", 1, 0, {"max_norm": 1.0})]
PADDING = {"no padding": {}, "padding 0": {"padding_idx": 0, "sparse": True}}
PADDING |= {"padding 6": {"padding_idx": 6, "scale_grad_by_freq": True}}
GRADIENTS = [{}, {"padding_idx": 0}, {"padding_idx": 1}, {"scale_grad_by_freq": True}, {"sparse": True}]

# name: what to look at, and what is not as in most cases
WORDS = {f"start: {do}": (do, PADDING["padding 6"]) for do in ("parameters", "kept", "options", "own memory")}
WORDS |= {f"start: what trains, {frozen=}": ("trains", {"frozen": frozen}) for frozen in (False, True)}
WORDS |= {f"start: {n} from {i} {more}": (do, {"count": n, "init_id": i, **more}) for do, n, i, more in STARTS}
WORDS |= {"start: half": ("place", {"dtype": BRAIN}), "start: elsewhere": ("place", {"place": "meta"})}
WORDS |= {name: ("rows", {"ids": ids}) for name, ids in IDS.items()}
WORDS |= {"one old row": ("rows", {"ids": [0, 1, 2], "vocab": 1}), "in half": ("rows", {"dtype": HALF})}
WORDS |= {"padding": ("rows", {"ids": [2, 0, 2], "padding_idx": 2}), "ids afterwards": ("ids", {})}
WORDS |= {"beside NaN": ("rows", {"ids": [8, 1, 3], "spoil": True}), "graph": ("graph", {})}
WORDS |= {"graph, old ids alone": ("graph", {"ids": [1, 0]})}
WORDS |= {f"gradient {more}": ("gradient", more) for more in GRADIENTS} | {name: (name, {}) for name in OPTIMIZERS}
WORDS |= {f"id {wrong}": ("error", {"ids": [0, wrong, 8]}) for wrong in (-1, 10, 50)}
WORDS |= {"cost": ("cost", {"ids": [4096, 2, 4097, 7], "vocab": 4096})}
WORDS |= {f"merged, {name}": ("rows", more) for name, more in PADDING.items()}
WORDS |= {f"merged: options, {name}": ("options", more) for name, more in PADDING.items()}
WORDS |= {f"merged: {do}": (do, {}) for do in ("kept", "own memory", "merged after", "trains")}
WORDS |= {"merged, half": ("rows", {"dtype": BRAIN})}
WORDS |= {f"{name} other tables": ("rows", {"again": True}) for name in ("merged,", "rows of")}

SHAPES = [((4, 3), (4, 1)), ((4, 3), (2, 3)), ((4, 6), (4, 3, 2)), ((4, 3), (3,)), ((4, 3), ()), ((1, 3), (4, 3))]
SHAPES += [(shape, shape) for shape in ((3, 2), (5,), (0, 3), ())]
WRONG = [{"weights": torch.ones(shape)} for shape in ((2,), (1,), (), (4, 1), (1, 4), (5,))]
WRONG += [{"prior_weight": -0.5}, {"prior_weight": NAN}]
PAIRS = [(300.0, -2.0), (6e4, -6e4), (1.0, 1 / 512)]  # 1 - 1 / 512 is 1 in bfloat16


def cases(rng):
    yield from (words(rng, name, do, **more) for name, (do, more) in WORDS.items())
    yield from losses(rng)


def words(rng, name, do, ids=(7, 2, 9, 7), vocab=7, count=3, init_id=0, spoil=None, again=False, **more):
    of = INIT if name.startswith("start") else MERGED if name.startswith("merged") else FORWARD
    dtype, place = more.pop("dtype", torch.float32), more.pop("place", "cpu")
    base, new = ((4 * randn(rng, n, 3)).to(dtype) for n in (vocab, max(count, 0)))
    base[[0, 6] if spoil else []], new[[0] if spoil else []] = NAN, NAN
    given = {"ids": torch.tensor(ids).long(), "slope": randn(rng, 4, 3).to(dtype), "frozen": more.pop("frozen", False)}
    init_id = randint(rng, 0, 7).item() if init_id is None else init_id
    given |= {"again": randn(rng, 10, 3) if again else None, "place": place, "count": count, "init_id": init_id}
    return Case(name, of=of, do=do, base=base, new=new, options=more, **given)


def losses(rng):
    def case(name, n=2, rest=(3,), dtype=DOUBLE, do="loss", p=None, t=None, **given):
        p, t = (randn(rng, 2 * n, *rest).to(dtype) if each is None else each for each in (p, t))
        return Case(f"loss {name}", of=LOSS, do=do, p=p, t=t, given=given)

    for n, w in ((1, 1.0), (1, 0.3), (3, 1.0), (3, 0.3)):
        for half, other in (("instance", slice(n, None)), ("class", slice(0, n))):
            alone = case(f"of {n}, {half} alone, {w}", n, **({} if w == 1 else {"prior_weight": w}))
            alone.t[other] = alone.p[other]
            yield alone
    yield case("at 0", prior_weight=0.0)
    yield from (case(f"of samples {rest}", rest=rest, prior_weight=0.5) for rest in ((), (4,), (2, 3, 2)))
    for place in (0, 2, 3, 5):
        yield case(f"weighted, sample {place}", 3, weights=3.0 * (torch.arange(6) == place).double(), prior_weight=0.5)
    yield case("weighted by 2", weights=2 * torch.ones(4).double())
    yield case("weighted samples of one number", rest=(), weights=randint(rng, 1, 9, 4).double())
    yield from (case(do, do=do) for do in ("gradient", "after"))
    for dtype in (HALF, BRAIN, torch.float32):
        yield case(f"in {dtype}", dtype=dtype, do="dtype")
        for i, pair in enumerate(PAIRS):
            p, t = (torch.full((2, 3), value).to(dtype) for value in pair)
            yield case(f"in {dtype}, {i}", p=p, t=t)
    yield case("of two dtypes", dtype=BRAIN, do="dtype", t=torch.zeros(4, 3))
    yield from (case(f"{p} {t}", do="error", p=torch.ones(p), t=torch.zeros(t)) for p, t in SHAPES)
    yield from (case(f"wrong {i}", do="error", **given) for i, given in enumerate(WRONG))


def run(kata, case):
    try:
        got = of_loss(kata, case) if case.of == LOSS else of_words(kata, case)
    except (ValueError, NotImplementedError):
        raise
    except Exception:
        if case.do != "error":
            raise
        got = "another error"
    return {case.do: "taken" if case.do == "error" and got != "another error" else got}


def of_words(kata, case):
    do, ids, init, old = case.do, case.ids.clone(), case.of == INIT, case.base
    base = nn.Embedding(*old.shape, _weight=old.clone().to(case.place), **case.options)
    weight = base.requires_grad_(not case.frozen).weight
    layer = kata.LearnedTokens(base, case.count, case.init_id)
    new, own = getattr(layer, "new", None), dict(layer.named_parameters())
    with torch.no_grad():
        init or new.copy_(case.new)
        if case.again is not None:
            layer(ids), layer.merged(), weight.copy_(case.again[:7]), new.copy_(case.again[7:])
    table = layer.merged() if case.of == MERGED else base
    see = {
        "parameters": lambda: [sorted([name, list(p.shape)] for name, p in own.items()), sorted(layer.state_dict())],
        "trains": lambda: sorted(name for name, p in own.items() if p.requires_grad),
        "kept": lambda: [layer.base is base, base.weight is weight, layer.new is new, Pairs(weight, old)],
        "options": lambda: [type(table).__name__, table.num_embeddings, *(getattr(table, name) for name in OPTIONS)],
        "start": lambda: [list(new.shape), [[torch.equal(row, one) for one in (*old, 0 * row)] for row in new]],
        "place": lambda: [str(new.dtype), new.device.type],
        "own memory": lambda: moved(*((new[0], weight, *new[1:]) if init else (table.weight, weight, new))),
        "merged after": lambda: [*moved(new, table.weight), table.weight.is_leaf],
        "rows": lambda: layer(ids) if case.of == FORWARD else table.weight,
        "ids": lambda: [layer(ids).shape, Pairs(ids, case.ids)],
        "graph": lambda: layer(ids).requires_grad,
        "gradient": lambda: [[g.to_dense(), g.is_sparse] for g in torch.autograd.grad(layer(ids), [new], case.slope)],
        "cost": lambda: [
            spent(layer, ids).bytes < 3072,
            spent(layer, ids.repeat(9)).operators - spent(layer, ids).operators < 3,
        ],
        "error": lambda: init or layer(ids),
    }
    return train(layer, case) if do in OPTIMIZERS else see[do]()


def moved(tensor, *others):
    """Whether the others stay as they are when the tensor's elements are changed."""
    before = [other.detach().clone() for other in others]
    with torch.no_grad():
        tensor.add_(1.0)
    return [Pairs(other, old) for other, old in zip(others, before, strict=True)]


def train(layer, case):
    optimizer = OPTIMIZERS[case.do]([p for p in layer.parameters() if p.requires_grad], lr=0.1, weight_decay=0.1)
    for _ in range(3):
        (layer(case.ids) - case.slope).square().sum().backward()
        optimizer.step()
    return [Pairs(layer.base.weight, case.base), [torch.equal(*rows) for rows in zip(layer.new, case.new, strict=True)]]


def spent(layer, ids):
    with measure() as total:
        layer(ids).sum().backward()
    return total


def of_loss(kata, case):
    leaf, t, given = case.p.clone().requires_grad_(), case.t.clone(), case.given
    p = leaf * 1  # no leaf, so that changing it is no error
    got = kata.prior_preservation_loss(p, t, **given)
    see = {"gradient": lambda: torch.autograd.grad(got, leaf)[0], "after": lambda: [Pairs(p, case.p), Pairs(t, case.t)]}
    return (see | {"dtype": lambda: str(got.dtype)}).get(case.do, lambda: got)()
