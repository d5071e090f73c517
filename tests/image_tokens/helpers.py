"""Prompts that are drawn as text, such as ".aa.b", their embeddings and pictures, and projectors with weights that are set."""

import torch

from dojo.testing import expect, expect_equal, randint, randn
from dojo.testing.modules import fill
from katas.image_tokens import Projector, splice

IMAGE = -200  # LLaVA's placeholder, which is no row of any table
PARAMETERS = ("linear_1.weight", "linear_1.bias", "linear_2.weight", "linear_2.bias")
ORDER = "ids == image_id says where, from left to right and row by row; the features, joined, are in this order"


def prompt(rng, *rows, image_id=IMAGE):
    """The ids of rows such as ".aa.b". A point is text; a letter is a placeholder of the picture of this name."""
    ids = randint(rng, 1, 40, len(rows), len(rows[0]))
    ids[ids == image_id] = 41
    ids[torch.tensor([[place != "." for place in row] for row in rows])] = image_id
    return ids


def pictured(rng, *rows, dim=3, image_id=IMAGE, dtype=torch.float64):
    """What splice takes for rows such as ".aa.b", by name. Pictures are listed by the alphabet."""
    names = sorted(set("".join(rows)) - {"."})
    return {
        "embeddings": randn(rng, len(rows), len(rows[0]), dim, dtype=dtype),
        "ids": prompt(rng, *rows, image_id=image_id),
        "features": [randn(rng, "".join(rows).count(name), dim, dtype=dtype) for name in names],
        "images_per_row": [len(set(row) - {"."}) for row in rows],
        "image_id": image_id,
    }


def expect_spliced(got, given, *rows, hint=ORDER):
    """Text is its embedding, and the letters are, one after the other, the tokens of their pictures."""
    embeddings, features = given["embeddings"], given["features"]
    shape = list(getattr(got, "shape", []))
    what = f"the rows {', '.join(rows)} (letters are pictures)"
    expect_equal(shape, [*embeddings.shape], what=f"the shape of {what}", hint="each placeholder is one row, replaced")
    expect_equal(got.dtype, embeddings.dtype, what=f"the dtype of {what}", hint="that of the embeddings")
    left = {
        name: iter(enumerate(tokens)) for name, tokens in zip(sorted({*"".join(rows)} - {"."}), features, strict=True)
    }
    for row, layout in enumerate(rows):
        for place, name in enumerate(layout):
            number, want = next(left[name]) if name in left else (0, embeddings[row, place])
            it = f"token {number} of picture {name}" if name in left else "text"
            where = f"place {place} of row {row} of {what}, {it}"
            expect_equal(got[row, place], want.to(embeddings.dtype), what=where, hint=hint)


def check_splice(rng, *rows, hint=ORDER, **options):
    """Splices pictures into rows such as ".aa.b", and checks each place of the result."""
    given = pictured(rng, *rows, **options)
    expect_spliced(splice(**given), given, *rows, hint=hint)


def projector(rng, vision_dim, text_dim, dtype=torch.float64, **values):
    """A Projector with random parameters; `values` are those that are given, by name with _ for the point."""
    layer = Projector(vision_dim, text_dim).to(dtype)
    own = dict(layer.named_parameters())
    for name in PARAMETERS:
        expect(name in own, f"{name} should be a parameter of Projector, but is missing")
        given = values.get(name.replace(".", "_"))
        fill(own[name], randn(rng, *own[name].shape) if given is None else given, what=name)
    return layer
