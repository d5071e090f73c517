"""The numbers themselves, at sizes where no two of them agree."""

from dojo.testing import randint
from dojo.testing.probes import Case

FIELDS = ("weights", "gradients", "optimizer", "activations")


def cases(rng):
    def drawn(low, high):
        return randint(rng, low, high).item()

    def sizes(name):
        """in_features, out_features, batch, rank."""
        return {
            "wide": lambda: (drawn(50, 90), drawn(20, 40), drawn(5, 15), drawn(2, 5)),
            "tall": lambda: (drawn(20, 40), drawn(50, 90), drawn(100, 200), drawn(2, 5)),
            "square, one row": lambda: 2 * (drawn(6, 200),) + (1, drawn(3, 9)),
            "one input": lambda: (1, drawn(9, 200), drawn(4, 90), 1),
            "a large rank": lambda: (drawn(5, 8), drawn(8, 12), drawn(3, 7), drawn(13, 99)),
        }[name]()

    options = [{}, {"dtype_bytes": 2}, {"optimizer_states": 0}, {"optimizer_states": 1, "dtype_bytes": 8}]
    wrong = [(0, 5, 6, 2), (4, 0, 6, 2), (4, 5, 0, 2), (4, 5, -1, 2)]
    for of, count in {"full_finetune_bytes": 3, "lora_finetune_bytes": 4}.items():
        for name in ("wide", "tall", "square, one row", "one input", "a large rank"):
            yield Case(f"{of}, {name}", of=of, calls=[sizes(name)[:count]], kwargs={})
        yield Case(f"{of}, many", of=of, calls=[sizes("wide")[:count] for _ in range(4)], kwargs={})
        for kwargs in options:
            yield Case(f"{of}, {kwargs}", of=of, calls=[sizes("wide")[:count]], kwargs=kwargs)
        for args in wrong + ([(4, 5, 6, 0)] if count == 4 else []):
            yield Case(f"{of}{args}", of=of, calls=[args[:count]], kwargs={})
        for kwargs in ({"dtype_bytes": 0}, {"optimizer_states": -1}):
            yield Case(f"{of}, {kwargs}", of=of, calls=[sizes("wide")[:count]], kwargs=kwargs)

    def communication(name, *calls, **kwargs):
        return Case(f"communication, {name}", of="communication_bytes", calls=calls, kwargs=kwargs)

    for workers in (2, 3, 4):
        yield communication(f"{workers} workers", (drawn(1000, 9999), workers))
    yield communication("one worker", (drawn(1000, 9999), 1), (drawn(1000, 9999), 5))
    yield communication("nothing to send", (0, 3), (drawn(1000, 9999), 6))
    yield communication("uneven chunks", *[(7 * drawn(1, 99) + 3, 7) for _ in range(5)])
    yield communication("huge", (10**9 * drawn(1000, 9999), 8))
    yield communication("2 bytes", (drawn(10, 999), 5), dtype_bytes=2)
    yield communication("0 bytes", (11, 5), dtype_bytes=0)
    for args in ((10, 0), (-1, 2)):
        yield communication(f"{args}", args)


def run(kata, case):
    results = [getattr(kata, case.of)(*args, **case.kwargs) for args in case.calls]
    if case.of == "communication_bytes":
        return {"bytes": [float(result) for result in results]}
    return {field: [getattr(result, field) for result in results] for field in FIELDS}
