"""The numbers themselves, at sizes where no two of them agree."""

from dojo.probes import Case
from dojo.testing import randint

FIELDS = ("weights", "gradients", "optimizer", "activations")


def cases(rng):
    drawn = (8 + randint(rng, 0, 40, 4)).tolist()
    sizes = [(30, 50, 7, 2), (50, 31, 70, 3), (6, 6, 1, 6), (1, 9, 4, 1), (5, 8, 3, 11), tuple(drawn)]
    options = [{}, {"dtype_bytes": 2}, {"optimizer_states": 0}, {"optimizer_states": 1, "dtype_bytes": 8}]
    wrong = [(0, 5, 6, 2), (4, 0, 6, 2), (4, 5, 0, 2), (4, 5, -1, 2)]
    for of, count in {"full_finetune_bytes": 3, "lora_finetune_bytes": 4}.items():
        for args in sizes + wrong + ([(4, 5, 6, 0)] if count == 4 else []):
            yield Case(f"{of}{args}", of=of, args=args[:count], kwargs={})
        for kwargs in [*options, {"dtype_bytes": 0}, {"optimizer_states": -1}]:
            yield Case(f"{of}, {kwargs}", of=of, args=sizes[0][:count], kwargs=kwargs)
    for args in [(1000, 1), (1000, 2), (1000, 4), (10, 3), (0, 3), (10**12, 8), (10, 0), (-1, 2)]:
        yield Case(f"communication {args}", of="communication_bytes", args=args, kwargs={})
    for size in (2, 0):
        yield Case(f"communication, {size} bytes", of="communication_bytes", args=(11, 5), kwargs={"dtype_bytes": size})


def run(kata, case):
    result = getattr(kata, case.of)(*case.args, **case.kwargs)
    if case.of == "communication_bytes":
        return {"bytes": float(result)}
    return {field: getattr(result, field) for field in FIELDS}
