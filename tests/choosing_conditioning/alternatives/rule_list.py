"""A list of (predicate, method) and a list of (predicate, reason), read from top to bottom."""

from dataclasses import dataclass
from enum import Enum


class Method(Enum):
    """What a pipeline can be asked to do; text-to-image alone is {TEXT}."""

    TEXT = "text"
    IMAGE_TO_IMAGE = "image-to-image"
    INPAINTING = "inpainting"
    CONTROLNET = "ControlNet"
    IP_ADAPTER = "IP-Adapter"
    LORA = "LoRA"


class Use(Enum):
    """What a reference image is for."""

    STYLE = "how it looks"
    SUBJECT = "who or what is in it"
    LAYOUT = "where things are: pose, edges, depth"


class Keep(Enum):
    """What must stay of the starting image."""

    COMPOSITION = "roughly the composition and the colours"
    STRUCTURE = "exactly the outlines, pose or depth"
    OUTSIDE_MASK = "every pixel outside the mask"


@dataclass(frozen=True)
class Request:
    """What the user has, and what must stay."""

    text: str = ""
    reference: Use | None = None  # one reference image, and what it is for
    control_map: bool = False  # a map of edges, depth or pose
    starting_image: bool = False  # a picture that is to be changed
    mask: bool = False  # the region of the starting image that is to be repainted
    many_examples: bool = False  # dozens of pictures of one style or subject, and time to train
    keep: frozenset[Keep] = frozenset()  # of the starting image


LAYOUTS = (
    lambda r: r.control_map,
    lambda r: r.reference is Use.LAYOUT,
    lambda r: Keep.STRUCTURE in r.keep,
)
CONTRADICTIONS = (
    (lambda r: r.mask and not r.starting_image, "a mask without a picture"),
    (lambda r: r.keep and not r.starting_image, "something to keep without a picture"),
    (lambda r: Keep.OUTSIDE_MASK in r.keep and not r.mask, "an outside without a mask"),
    (lambda r: sum(bool(source(r)) for source in LAYOUTS) > 1, "more than one layout"),
    (lambda r: not any(rule(r) for rule, _ in RULES), "nothing at all"),
)
RULES = (
    (lambda r: r.text.strip(), Method.TEXT),
    (lambda r: r.mask, Method.INPAINTING),
    (lambda r: r.starting_image and not r.mask and r.keep != frozenset({Keep.STRUCTURE}), Method.IMAGE_TO_IMAGE),
    (lambda r: any(source(r) for source in LAYOUTS), Method.CONTROLNET),
    (lambda r: r.reference not in (None, Use.LAYOUT), Method.IP_ADAPTER),
    (lambda r: r.many_examples, Method.LORA),
)


def plan(request):
    for applies, reason in CONTRADICTIONS:
        if applies(request):
            raise ValueError(reason)
    return frozenset(method for applies, method in RULES if applies(request))
