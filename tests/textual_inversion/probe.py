"""What can be seen of new words: the start, rows and their gradients, training, the merged table, the loss."""

import torch
from torch import nn

from dojo.testing import randint, randn
from dojo.testing.cost import measure
from dojo.testing.probes import Case, Pairs

INIT, FORWARD, MERGED = ("LearnedTokens" + part for part in ("", ".forward", ".merged"))
LOSS, OPTIONS = "prior_preservation_loss", ("num_embeddings", "padding_idx", "scale_grad_by_freq", "sparse")
HALF, BRAIN, DOUBLE, NAN = torch.float16, torch.bfloat16, torch.float64, float("nan")
OPTIMIZERS = {"AdamW": torch.optim.AdamW, "SGD": lambda p, **more: torch.optim.SGD(p, momentum=0.9, **more)}
IDS = {"old": [1, 6, 3], "row 0": [0], "last old": [6], "first new": [7], "last new": [9], "mixed": [9, 0, 7, 2, 7]}
IDS |= {"matrix": [[0, 8, 1], [7, 3, 2]], "one id": 2, "one new id": 8, "none": [], "only new": [7, 9, 7, 8]}
STARTS = [(2, None, {"vocab": 40}), (1, 3, {}), (3, 0, {}), (2, 6, {}), (2, 4, {"padding_idx": 4})]
WRONG_STARTS = [(0, 0, {}), (-1, 0, {}), (1, -1, {}), (1, 7, {}), (1, 0, {"max_norm": 1.0}), (1, 1, {"max_norm": 0.0})]
PADDING = {"none": {}, "0": {"padding_idx": 0, "sparse": True}, "6": {"padding_idx": 6, "scale_grad_by_freq": True}}
GRADIENTS = [{}, {"padding_idx": 0}, {"padding_idx": 1}, {"scale_grad_by_freq": True}, {"sparse": True}]

# name: what to look at, and what is not as in most cases
WORDS = {f"start: {do}": (do, PADDING["6"]) for do in ("parameters", "kept", "in place", "options", "own memory")}
WORDS |= {f"start: what trains, {frozen=}": ("trains", {"frozen": frozen}) for frozen in (False, True)}
WORDS |= {f"start: {n}, {i}": ("start", {"count": n, "init_id": i, **more}) for n, i, more in STARTS}
WORDS |= {f"start: {n}, {i}, wrong": ("error", {"count": n, "init_id": i, **more}) for n, i, more in WRONG_STARTS}
WORDS |= {"start: half": ("place", {"dtype": BRAIN}), "start: elsewhere": ("place", {"place": "meta"})}
WORDS |= {name: ("rows", {"ids": ids}) for name, ids in IDS.items()} | {"start: 1": ("own memory", {"count": 1})}
WORDS |= {"one old row": ("rows", {"ids": [0, 1], "vocab": 1}), "in half": ("rows", {"dtype": HALF})}
WORDS |= {"padding": ("rows", {"ids": [2, 0, 2], "padding_idx": 2}), "graph, all old": ("graph", {"ids": [1, 0]})}
WORDS |= {"beside NaN": ("rows", {"ids": [8, 2, 3], "spoil": True}), "merged, half": ("rows", {"dtype": BRAIN})}
WORDS |= {f"gradient {more}": ("gradient", more) for more in GRADIENTS} | {name: (name, {}) for name in OPTIMIZERS}
WORDS |= {f"id {wrong}": ("error", {"ids": [0, wrong, 8]}) for wrong in (-1, 10, 50)}
WORDS |= {"cost": ("cost", {"ids": [4096, 2, 4097, 7], "vocab": 4096}), "graph": ("graph", {}), "after": ("ids", {})}
WORDS |= {f"merged, {do} {name}": (do, more) for name, more in PADDING.items() for do in ("rows", "options")}
WORDS |= {f"merged: {do}": (do, {}) for do in ("kept", "own memory", "merged after", "trains")}
WORDS |= {name: ("rows", {"again": True}) for name in ("merged, other tables", "other tables")}
SHAPES = [((4, 3), (4, 1)), ((4, 3), (2, 3)), ((4, 6), (4, 3, 2)), ((4, 3), (3,)), ((4, 3), ()), ((1, 3), (4, 3))]
WRONG = [{"p": torch.ones(p), "t": torch.zeros(t)} for p, t in (*SHAPES, *((p, p) for p in ((3, 2), (5,), (0, 3), ())))]
WRONG += [{"weights": torch.ones(shape)} for shape in ((2,), (1,), (), (4, 1), (1, 4), (5,))]
WRONG += [{"prior_weight": -0.5}, {"prior_weight": NAN}]


def cases(rng):
    return iter([*(words(rng, name, do, **more) for name, (do, more) in WORDS.items()), *losses(rng)])


def words(rng, name, do, ids=(7, 2, 9, 7), vocab=7, count=3, init_id=0, spoil=None, again=False, **more):
    of = INIT if name.startswith("start") else MERGED if name.startswith("merged") else FORWARD
    dtype, place = more.pop("dtype", torch.float32), more.pop("place", "cpu")
    base, new = ((4 * randn(rng, n, 3)).to(dtype) for n in (vocab, max(count, 0)))
    base[[0, 1, 4, 5, 6] if spoil else []], new[[0, 2] if spoil else []] = NAN, NAN
    given = {"ids": torch.tensor(ids).long(), "slope": randn(rng, 4, 3).to(dtype), "frozen": more.pop("frozen", False)}
    init_id = randint(rng, 0, vocab).item() if init_id is None else init_id
    given |= {"again": randn(rng, 10, 3) if again else None, "place": place, "count": count, "init_id": init_id}
    return Case(name, of=of, do=do, base=base, new=new, options=more, **given)


def losses(rng):
    def case(name, n=2, rest=(3,), dtype=DOUBLE, do="loss", p=None, t=None, same=None, **given):
        p, t = (randn(rng, 2 * n, *rest).to(dtype) if each is None else each for each in (p, t))
        t = torch.cat([p[:n], t[n:]] if same == "first" else [t[:n], p[n:]]) if same else t
        return Case(f"loss {name}", of=LOSS, do=do, p=p, t=t, given=given)

    for n, same in ((1, "first"), (1, "second"), (3, "first"), (3, "second")):
        yield case(f"of {n}, equal {same} half", n, same=same)
        yield case(f"of {n}, equal {same} half, at 0.3", n, same=same, prior_weight=0.3)
    yield from (case(f"of samples {rest}", rest=rest, prior_weight=0.5) for rest in ((), (4,), (2, 3, 2)))
    for i in (0, 2, 3, 5):
        yield case(f"weighted, sample {i}", 3, weights=3.0 * torch.eye(6).double()[i], prior_weight=0.5)
    yield from (case(f"{given}", **given) for given in ({"prior_weight": 0.0}, {"weights": 2 * torch.ones(4).double()}))
    yield from (case(do, do=do) for do in ("gradient", "after"))
    for dtype in (HALF, BRAIN, torch.float32):
        for one, other in ((300.0, -2.0), (6e4, -6e4)):
            yield case(f"in {dtype}, {one}", p=torch.full((2, 3), one).to(dtype), t=torch.full((2, 3), other).to(dtype))
    yield case("of two dtypes", dtype=BRAIN, t=torch.full((4, 3), 257.0).double())
    yield from (case(f"wrong {i}", do="error", **given) for i, given in enumerate(WRONG))


def run(kata, case):
    try:
        got = of_loss(kata, case) if case.of == LOSS else of_words(kata, case)
    except Exception as error:
        if case.do != "error" or isinstance(error, ValueError | NotImplementedError):
            raise
        return {"error": "another error"}
    return {case.do: "taken" if case.do == "error" else got}


def of_words(kata, case):
    do, ids, init, old = case.do, case.ids.clone(), case.of == INIT, case.base
    base = nn.Embedding(*old.shape, _weight=old.clone().to(case.place), **case.options)
    weight, place = base.requires_grad_(not case.frozen).weight, base.weight.data_ptr()
    layer = kata.LearnedTokens(base, case.count, case.init_id)
    new, own, names = getattr(layer, "new", None), dict(layer.named_parameters()), ("base.weight", "new")
    with torch.no_grad():
        init or new.copy_(case.new)
        if case.again is not None:
            layer.eval()(ids), layer.merged(), weight.copy_(case.again[:7]), new.copy_(case.again[7:])
    table = layer.merged() if case.of == MERGED else base
    see = {
        "parameters": lambda: [*(own[n].shape if n in own else 0 for n in names), len(own), len(layer.state_dict())],
        "trains": lambda: sorted(name for name, p in own.items() if p.requires_grad),
        "kept": lambda: [layer.base is base, base.weight is weight, layer.new is new, Pairs(weight, old)],
        "in place": lambda: weight.data_ptr() == place,
        "options": lambda: [isinstance(table, nn.Embedding), *(getattr(table, name, None) for name in OPTIONS)],
        "start": lambda: [list(new.shape), [[torch.equal(row, one) for one in (*old, 0 * row)] for row in new]],
        "place": lambda: [str(new.dtype), new.device.type],
        "own memory": lambda: moved(*((new[0], weight, *new[1:]) if init else (table.weight, weight, new))),
        "merged after": lambda: [*moved(new, table.weight), table.weight.is_leaf],
        "rows": lambda: layer(ids) if case.of == FORWARD else table.weight,
        "ids": lambda: [layer(ids).shape, Pairs(ids, case.ids)],
        "graph": lambda: layer(ids).requires_grad,
        "gradient": lambda: [[g.to_dense(), g.is_sparse] for g in torch.autograd.grad(layer(ids), [new], case.slope)],
        "cost": lambda: cost(layer, ids),
        "error": lambda: init or layer(ids),
    }
    return train(layer, case) if do in OPTIMIZERS else see[do]()


def moved(tensor, *others):
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


def cost(layer, ids):
    spent = []
    for given in (ids, ids, ids.repeat(9)):
        with measure() as total:
            layer(given).sum().backward()
        spent.append(total)
    return [spent[0].bytes < 3072, spent[2].operators - spent[1].operators < 3]


def of_loss(kata, case):
    leaf, t, given = case.p.clone().requires_grad_(), case.t.clone(), case.given
    p = leaf * 1  # no leaf, so that changing it is no error
    got = kata.prior_preservation_loss(p, t, **given)
    if case.do == "gradient":
        return torch.autograd.grad(got, leaf)[0]
    return [Pairs(p, case.p), Pairs(t, case.t)] if case.do == "after" else got
