"""The request is first brought into a simpler form: where to start, the source of the layout, the look."""

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


def start(request):
    match request.starting_image, request.mask:
        case False, False if not request.keep:
            return set()
        case True, True:
            return {Method.INPAINTING}
        case True, False if Keep.OUTSIDE_MASK not in request.keep:
            return set() if request.keep == {Keep.STRUCTURE} else {Method.IMAGE_TO_IMAGE}
    raise ValueError(f"no way to start: {request}")


def layout(request):
    sources = []
    if request.control_map:
        sources.append("map")
    if request.reference is Use.LAYOUT:
        sources.append("reference")
    if Keep.STRUCTURE in request.keep:
        sources.append("starting image")
    if len(sources) > 1:
        raise ValueError(f"layouts from {sources}")
    return {Method.CONTROLNET} if sources else set()


def look(request):
    by_use = {Use.STYLE: {Method.IP_ADAPTER}, Use.SUBJECT: {Method.IP_ADAPTER}}
    return by_use.get(request.reference, set()) | ({Method.LORA} if request.many_examples else set())


def plan(request):
    words = {Method.TEXT} if request.text.split() else set()
    methods = frozenset(words | start(request) | layout(request) | look(request))
    if len(methods) == 0:
        raise ValueError("nothing was asked for")
    return methods
