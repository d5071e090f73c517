"""Scenarios, and what adding one thing to any request must change: no test holds the table itself."""

from itertools import chain, combinations

from dojo.testing import expect_equal
from katas.choosing_conditioning import Keep, Method, plan

TEXT, IMAGE_TO_IMAGE, INPAINTING = Method.TEXT, Method.IMAGE_TO_IMAGE, Method.INPAINTING
CONTROLNET, IP_ADAPTER, LORA = Method.CONTROLNET, Method.IP_ADAPTER, Method.LORA
COMPOSITION, STRUCTURE, OUTSIDE = Keep.COMPOSITION, Keep.STRUCTURE, Keep.OUTSIDE_MASK
KEEPS = [frozenset(k) for k in chain.from_iterable(combinations(Keep, n) for n in range(4))]
FLAGS = ("control_map", "starting_image", "mask", "many_examples")


def expect_plan(request, *methods, hint=""):
    expect_equal(names(plan(request)), names(methods), what=f"the plan for {shown(request)}", hint=hint)


def names(methods):
    return sorted(method.name for method in methods)


def shown(request):
    """Only what the user has."""
    parts = [repr(request.text)] if request.text else []
    parts += [name for name in FLAGS if getattr(request, name)]
    parts += [f"a reference for its {request.reference.name}"] if request.reference else []
    parts += [f"keep {' and '.join(sorted(k.name for k in request.keep))}"] if request.keep else []
    return "(" + (", ".join(parts) or "nothing") + ")"
