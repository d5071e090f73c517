"""Stage 4. One copy of the picture, no loop over patches."""

import torch

from dojo.testing import expect, expect_flat_operators, expect_traffic, randn
from katas.vit_patches import PatchEmbedding, patchify, unpatchify

COPY = "reshape, permute, reshape: the two views are free, and the last reshape copies once"


def test_patchify_copies_once(rng, cost):
    """Each number is read and written. A batch of 256 pictures of 3 x 224 x 224 has 154 MB in float32."""
    images = randn(rng, 4, 3, 32, 48, dtype=torch.float32)
    with cost() as spent:
        patches = patchify(images, 8)
    expect_traffic(spent, images, 8, what="patchify", of="the pictures", hint=COPY)
    with cost() as spent:
        unpatchify(patches.clone(), 8, 32, 48)
    expect_traffic(spent, images, 8, what="unpatchify", of="the pictures", hint=COPY)


def test_no_loop_over_patches(rng):
    """Neither over pictures, channels or rows: the operators are about as many for 4 patches as for 96. A reshape is a view
    at some sizes and a copy at others, which counts as one."""
    sizes, hint = [(1, 1, 4, 4), (9, 1, 4, 4), (1, 9, 4, 4), (2, 3, 16, 24)], COPY
    expect_flat_operators(
        lambda images: patchify(images, 2),
        lambda size: [randn(rng, *size)],
        sizes,
        what="patchify of pictures [batch, channels, height, width]",
        hint=hint,
        slack=4,
    )
    expect_flat_operators(
        lambda patches: unpatchify(patches, 2, *2 * [2 * int(patches.shape[1] ** 0.5)]),
        lambda size: [randn(rng, *size)],
        [(1, 4, 4), (9, 4, 4), (1, 4, 36), (1, 144, 4)],
        what="unpatchify of patches [batch, patches, values]",
        hint=hint,
        slack=4,
    )


def test_the_embedding_projects_each_patch_once(rng, cost):
    """192 numbers times 16, a product and a sum: a convolution whose stride is 1 computes 64 times as many tokens."""
    layer = PatchEmbedding((32, 32), 8, 3, 16)
    for height, width in ((32, 32), (32, 64)):
        images = randn(rng, 2, 3, height, width, dtype=torch.float32)
        with cost() as spent:
            layer(images)
        flops = 2 * 192 * 16 * 2 * height * width // 64
        sentence = (
            f"the embedding of 2 pictures of {height} x {width} should take about {flops} FLOPs, but took {spent.flops}"
        )
        expect(spent.flops <= 1.2 * flops, sentence, hint="stride = kernel, or one matrix product")
        sentence = f"torch operators should do the projection, but only {spent.flops} FLOPs of {flops} were seen"
        expect(spent.flops >= flops, sentence, hint="compute with torch")


def test_no_loop_in_the_embedding(rng):
    """One convolution or product for all patches of all pictures, at the size of training and at others."""
    layer = PatchEmbedding((8, 8), 2, 3, 5)
    for sizes in ([(1, 3, 8, 8), (9, 3, 8, 8)], [(1, 3, 4, 8), (9, 3, 12, 16)]):
        expect_flat_operators(
            layer,
            lambda size: [randn(rng, *size, dtype=torch.float32)],
            sizes,
            what="the embedding of pictures [batch, channels, height, width]",
            hint="project all patches at once, and expand the class token",
            slack=4,
        )
