"""The plan for every combination of fields, in random order: a case for each set of flags."""

from itertools import chain, combinations, product

import torch

from dojo.testing.probes import Case

FLAGS = ("control_map", "starting_image", "mask", "many_examples")
REFERENCES = (None, "STYLE", "SUBJECT", "LAYOUT")
KEEPS = [
    list(k)
    for k in chain.from_iterable(combinations(("COMPOSITION", "STRUCTURE", "OUTSIDE_MASK"), n) for n in range(4))
]


def cases(rng):
    def choose(options):
        return options[int(torch.randint(len(options), (), generator=rng))]

    def requests(flags):
        """One for every text that counts as another, reference and set to keep."""
        texts = ("", choose((" ", "\n", "\t ", " \n")), choose(("a fox", " two owls", "x", "snow on a roof\n")))
        return [[text, reference, keep, flags] for text, reference, keep in product(texts, REFERENCES, KEEPS)]

    def case(name, asked):
        order = torch.randperm(len(asked), generator=rng).tolist()
        return Case(name, of="plan", requests=[asked[place] for place in order])

    for flags in product((False, True), repeat=len(FLAGS)):
        having = [name for name, flag in zip(FLAGS, flags, strict=True) if flag]
        if "mask" not in having:
            yield case(f"with {', '.join(having) or 'no material'}", requests(having))
        elif "starting_image" not in having:  # always a contradiction, so that alone would ask for no plan
            asked = requests(having) + requests([*having, "starting_image"])
            yield case(f"with {', '.join(having)}, and maybe a starting image", asked)
    yield Case("nothing at all", of="plan", requests=None)


def run(kata, case):
    if case.requests is None:
        return {"methods": [sorted(m.name for m in kata.plan(kata.Request(text=text))) for text in ("", " \n")]}
    return {"answers": [answer(kata, *request) for request in case.requests]}


def answer(kata, text, reference, keep, flags):
    request = kata.Request(
        text=text,
        reference=None if reference is None else kata.Use[reference],
        keep=frozenset(kata.Keep[name] for name in keep),
        **dict.fromkeys(flags, True),
    )
    try:
        methods = kata.plan(request)
    except ValueError:
        return ["ValueError"]
    # An empty plan, too, is no plan: whether it raises is another mistake, with a case of its own.
    return [type(methods).__name__, *sorted(method.name for method in methods)] if methods else ["ValueError"]
