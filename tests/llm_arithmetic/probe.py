"""The numbers themselves, of models and cards where no two of them agree, and whether they are integers."""

from dojo.testing import randint
from dojo.testing.probes import Case

# A case asks about one function: those that it may call are these, so that their mistakes show in their own cases alone.


def parameters(m):
    attention, tables = 2 * m.dim * m.head_dim * (m.heads + m.kv_heads), (2, 1)[m.tied] * m.vocab * m.dim
    return m.layers * (attention + 3 * m.hidden * m.dim + 2 * m.dim) + m.dim + tables


def forward_flops(m, new, context):
    if new <= 0 or context < 0:
        raise ValueError("new must be positive, and context not negative")
    layer = 2 * m.dim * m.head_dim * (m.heads + m.kv_heads) + 3 * m.hidden * m.dim
    return 2 * new * (m.layers * (layer + 2 * m.heads * m.head_dim * (context + new)) + m.vocab * m.dim)


def kv_bytes(m, tokens, *, dtype_bytes=2):
    if tokens < 0 or dtype_bytes <= 0:
        raise ValueError("dtype_bytes must be positive, and tokens not negative")
    return 2 * m.layers * m.kv_heads * m.head_dim * tokens * dtype_bytes


GIVEN = (parameters, forward_flops, kv_bytes)
# What must have an answer, so that its refusal is one, too.
ANSWERED = ("forward_flops, a prompt", "kv_bytes, an empty cache", "decode_seconds, one sequence, no context")


def cases(rng):
    def drawn(low, high):
        return randint(rng, low, high).item()

    def model(name, tied=False):
        """layers, dim, heads, kv_heads, head_dim, hidden, vocab, tied."""
        each, kv_heads = {"plain": (1, 3), "grouped": (3, 2), "wide": (2, 1)}[name]
        head_dim = drawn(4, 9)
        dim = each * kv_heads * head_dim + (drawn(3, 20) if name == "wide" else 0)
        return [drawn(2, 5), dim, each * kv_heads, kv_heads, head_dim, drawn(11, 40), drawn(50, 90), tied]

    def card(flops=1.0, bandwidth=1.0, memory=1):
        return [flops * drawn(100, 999), bandwidth * drawn(100, 999), memory * drawn(100, 999)]

    def case(of, name, *args, **kwargs):
        return Case(f"{of}, {name}", of=of, args=args, kwargs=kwargs)

    for name in ("plain", "grouped", "wide"):
        for tied in (False, True):
            kind, m = f"{name}{', tied' * tied}", model(name, tied)
            yield case("parameters", kind, m)
            yield case("forward_flops", kind, m, drawn(2, 9), drawn(1, 9))
            yield case("kv_bytes", kind, m, drawn(2, 99))
            yield case("decode_seconds", f"{kind}, reading", m, card(2.0**200), drawn(2, 9), drawn(3, 99))
            yield case("decode_seconds", f"{kind}, computing", m, card(1.0, 2.0**200), drawn(2, 9), drawn(3, 99))
            yield case("max_batch", kind, m, card(memory=10**5), drawn(3, 6))
            yield case("mfu", kind, m, card(), drawn(100, 999) / 64, drawn(3, 30))
    m = model("grouped")
    yield case("forward_flops", "one token", m, 1, 0)
    yield case("forward_flops", "a prompt", m, drawn(3, 30), 0)
    yield case("forward_flops", "no tokens", m, 0, 3)
    yield case("forward_flops", "fewer than no tokens", m, -1, 3)
    yield case("forward_flops", "a negative context", m, 3, -1)
    yield case("kv_bytes", "an empty cache", m, 0)
    for number in (1, 3, 4):
        yield case("kv_bytes", f"dtype_bytes={number}", m, drawn(2, 9), dtype_bytes=number)
    yield case("kv_bytes", "negative tokens", m, -1)
    yield case("kv_bytes", "no bytes", m, 3, dtype_bytes=0)
    huge = 10**8 * drawn(1, 9) + 1
    yield case("parameters", "huge", [1, huge, 1, 1, 1, 1, huge + 2, True])
    yield case("forward_flops", "huge", [1, huge, 1, 1, 1, 2, huge + 2, True], 1, 0)
    yield case("kv_bytes", "huge", [1, 1, 1, 1, huge, 1, 1, True], huge, dtype_bytes=1)

    fast = card(2.0**200)
    balanced = [float(2 * m[0] + 1), 2.0, 1]
    yield case("decode_seconds", "balanced", m, balanced, 2, 3)
    yield case("decode_seconds", "computing longer than reading", m, [1.0, 2.0, 1], 2, 9)
    yield case("decode_seconds", "one sequence, no context", m, fast, 1, 0)
    for number in (0.5, 1, 4):
        yield case("decode_seconds", f"weight_bytes={number}", m, fast, 2, 3, weight_bytes=number)
    for number in (1, 3, 4):
        yield case("decode_seconds", f"kv_bytes_each={number}", m, fast, 2, 3, kv_bytes_each=number)
    for name, wrong in {"batch": 0, "context": -1, "weight_bytes": 0, "kv_bytes_each": 0}.items():
        yield case("decode_seconds", f"{name}={wrong}", m, fast, **{"batch": 1, "context": 2, name: wrong})
    yield case("critical_batch", "two bytes", card())
    for number in (0.5, 1, 4):
        yield case("critical_batch", f"weight_bytes={number}", card(), weight_bytes=number)
    yield case("critical_batch", "no bytes", card(), weight_bytes=0)
    roomy = card(memory=10**7)
    for number in (0.5, 1, 4):
        yield case("max_batch", f"weight_bytes={number}", m, roomy, 9, weight_bytes=number)
    for number in (1, 3, 4):
        yield case("max_batch", f"kv_bytes_each={number}", m, roomy, 9, kv_bytes_each=number)
    yield case("max_batch", "no room", m, [1.0, 1.0, drawn(2, 99)], 9)
    yield case("max_batch", "no room for one", [1, 1, 1, 1, 999, 1, 1, False], [1.0, 1.0, 19_000], drawn(9, 19))
    for name in ("tokens", "weight_bytes", "kv_bytes_each"):
        yield case("max_batch", f"{name}=0", m, roomy, **{"tokens": 2, name: 0})

    for mixed in (True, False):
        for stage in range(4):
            kind = f"stage {stage}{', mixed' * mixed}"
            yield case("training_bytes", kind, 7 * drawn(10, 99) + 3, 7, stage, mixed=mixed)
        yield case("training_bytes", f"one worker{', mixed' * mixed}", drawn(10, 99), 1, 2, mixed=mixed)
    yield case("training_bytes", "even", 8 * drawn(10, 99), 8, 3)
    yield case("training_bytes", "huge", 2 * 10**16 * drawn(3, 9) + 1, 2, 3)
    for name, args in {
        "parameters": (0, 4, 1),
        "workers": (9, 0, 1),
        "stage -1": (9, 4, -1),
        "stage 4": (9, 4, 4),
    }.items():
        yield case("training_bytes", f"wrong {name}", *args)
    yield case("mfu", "one token", m, card(), drawn(10, 99) / 8, 1)
    yield case("mfu", "no tokens per second", m, card(), 0, 4)
    yield case("mfu", "no length", m, card(), 5, 0)


def run(kata, case):
    other, own = list(case.args), {given.__name__: getattr(kata, given.__name__) for given in GIVEN}
    args = [] if case.of in ("critical_batch", "training_bytes") else [kata.Decoder(*other.pop(0))]
    if case.of in ("decode_seconds", "critical_batch", "max_batch", "mfu"):
        args.append(kata.Card(*other.pop(0)))
    try:
        if case.of not in own:
            for given in GIVEN:
                setattr(kata, given.__name__, given)
        result = getattr(kata, case.of)(*args, *other, **case.kwargs)
    except ValueError:
        if case.name not in ANSWERED:
            raise
        return {"result": "refused"}
    finally:
        for name, function in own.items():
            setattr(kata, name, function)
    if case.of in ("decode_seconds", "critical_batch", "mfu"):
        return {"result": float(result)}
    return {"result": int(result), "type": type(result).__name__}
