"""The plan for every combination of fields, a case for each set of flags."""

from itertools import chain, combinations, product

from dojo.probes import Case

FLAGS = ("control_map", "starting_image", "mask", "many_examples")


def cases(rng):
    for flags in product((False, True), repeat=len(FLAGS)):
        having = [name for name, flag in zip(FLAGS, flags, strict=True) if flag]
        yield Case(f"with {', '.join(having) or 'no material'}", of="plan", flags=dict.fromkeys(having, True))
    yield Case("nothing at all", of="plan", flags=None)


def run(kata, case):
    seen = {}
    if case.flags is None:
        return {"methods": [sorted(m.name for m in kata.plan(kata.Request(text=text))) for text in ("", " \n")]}
    keeps = [frozenset(k) for k in chain.from_iterable(combinations(kata.Keep, n) for n in range(4))]
    for text, reference, keep in product(("", " \n", "a fox"), (None, *kata.Use), keeps):
        request = kata.Request(text=text, reference=reference, keep=keep, **case.flags)
        try:
            methods = kata.plan(request)
            # An empty plan, too, is no plan: whether it raises is another mistake, with a case of its own.
            answer = [type(methods).__name__, *sorted(method.name for method in methods)] if methods else ["ValueError"]
        except ValueError:
            answer = ["ValueError"]
        seen[f"{text!r}, {reference}, {sorted(k.name for k in keep)}"] = answer
    return seen
