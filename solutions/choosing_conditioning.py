"""Choosing the conditioning.

A user wants a picture from a text-to-image diffusion model, and has some material. Which methods do you combine: text,
image-to-image, inpainting, ControlNet, IP-Adapter, LoRA? Each controls something else, so most requests take several.

    text            prompt through cross-attention: says what is to be seen
    image-to-image  starts from a noised picture instead of pure noise: keeps its rough composition and colours
    inpainting      denoises the masked region only: every pixel outside the mask stays
    ControlNet      a trained branch for a spatial map (edges, depth, pose): fixes where things are
    IP-Adapter      attention to the embedding of one reference picture, nothing to train: how it looks, or who it is
    LoRA            low-rank weights trained on many pictures: a style or subject, learned once and then used again

The rules, in plain words; all that apply are taken together, and nothing else:

    1. A text calls for TEXT. A text of nothing but spaces is no text.
    2. A starting image without a mask calls for IMAGE_TO_IMAGE; with a mask it calls for INPAINTING instead.
    3. Exception: if the structure is *all* that must stay of a starting image without a mask, IMAGE_TO_IMAGE is left
       out: colours would stay too. (ControlNet alone then, by rule 4, on a map taken from the starting image.)
    4. Anything that fixes the layout calls for CONTROLNET: a control map, a reference for its layout (a map is taken
       from it), or a structure that must stay.
    5. A reference for its style or its subject calls for IP_ADAPTER.
    6. Many examples call for LORA, whether or not there is a reference as well.

Contradictions raise ValueError: a mask, or something that must stay, without a starting image; pixels outside the mask
that must stay, without a mask; a layout from more than one of the three sources of rule 4; nothing at all.

Stage 1: one kind of material.  Stage 2: contradictions and exceptions.  Stage 3: adding one thing to every request.
Stage 4: requests as people make them.

Sources: the papers on latent diffusion, SDEdit, RePaint, ControlNet, IP-Adapter and LoRA.
"""

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


def plan(request: Request) -> frozenset[Method]:
    """The methods to combine for `request`, by the rules above. Raises ValueError if it contradicts itself or is empty.

    >>> sorted(method.name for method in plan(Request(text="a red car", control_map=True)))
    ['CONTROLNET', 'TEXT']
    """
    # kata: begin
    if not request.starting_image and (request.mask or request.keep):
        raise ValueError("a mask, or something to keep, needs a starting image")
    if Keep.OUTSIDE_MASK in request.keep and not request.mask:
        raise ValueError("what stays outside the mask needs a mask")
    layouts = [request.control_map, request.reference is Use.LAYOUT, Keep.STRUCTURE in request.keep]
    if sum(layouts) > 1:
        raise ValueError("the layout can come from one source only")
    structure_only = request.keep == {Keep.STRUCTURE}
    wanted = {
        Method.TEXT: request.text.strip() != "",
        Method.IMAGE_TO_IMAGE: request.starting_image and not request.mask and not structure_only,
        Method.INPAINTING: request.mask,
        Method.CONTROLNET: any(layouts),
        Method.IP_ADAPTER: request.reference in (Use.STYLE, Use.SUBJECT),
        Method.LORA: request.many_examples,
    }
    methods = frozenset(method for method, applies in wanted.items() if applies)
    if not methods:
        raise ValueError("there is nothing to condition on")
    return methods
    # kata: end
