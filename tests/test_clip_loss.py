"""What any right CLIP loss does. Most batches here are orthonormal: then the loss is known in closed form."""

import math

import pytest
import torch

from dojo.testing import expect, expect_close, expect_equal, expect_raises, expect_unchanged, randn
from katas.clip_loss import clip_loss


def number(value):
    return torch.tensor(value, dtype=torch.float64)


def orthonormal(rng, batch, dim):
    """`batch` orthogonal directions of length 1, as rows [batch, dim]."""
    return torch.linalg.qr(randn(rng, dim, batch)).Q.T.contiguous()


def lengths(rng, batch):
    """From 1/30 to 30, one for each row."""
    return 30 ** (2 * torch.rand(batch, 1, generator=rng, dtype=torch.float64) - 1)


# Stage 1: the loss, both directions


@pytest.mark.stage(1)
def test_a_worked_example():
    """Two orthogonal pairs at scale ln 3: the logits are ln 3 on the diagonal and 0 elsewhere, so every image gives
    its text 3/4 and every text its image 3/4. The loss is ln(4/3), whatever the vectors' lengths are."""
    images = torch.tensor([[3.0, 0.0], [0.0, 2.0]], dtype=torch.float64)
    texts = torch.tensor([[1.0, 0.0], [0.0, 5.0]], dtype=torch.float64)
    expect_close(
        clip_loss(images, texts, math.log(3)),
        number(math.log(4 / 3)),
        what="clip_loss([[3, 0], [0, 2]], [[1, 0], [0, 5]], ln 3)",
        hint="unit length first, times the scale itself (not its exp), cross-entropy against the diagonal, then the mean",
    )


@pytest.mark.stage(1)
def test_both_directions_count_half():
    """Two images, two equal texts, at scale ln 3. Each image has two equal logits: ln 2. The texts both prefer the
    first image, 3 : 1, which is right for one: ln(4/3), and wrong for the other: ln 4."""
    images = torch.tensor([[1.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    texts = torch.tensor([[1.0, 0.0], [1.0, 0.0]], dtype=torch.float64)
    want = (math.log(2) + (math.log(4 / 3) + math.log(4)) / 2) / 2
    hint = "the mean of cross_entropy(logits, diagonal) and cross_entropy(logits.T, diagonal)"
    what = "clip_loss of images (x, y) and texts (x, x) at scale ln 3"
    expect_close(clip_loss(images, texts, math.log(3)), number(want), what=what, hint=hint)
    what = "clip_loss of images (x, x) and texts (x, y) at scale ln 3"
    expect_close(clip_loss(texts, images, math.log(3)), number(want), what=what, hint=hint)


@pytest.mark.stage(1)
@pytest.mark.parametrize("batch", [1, 2, 3, 16])
def test_the_loss_of_orthogonal_pairs(rng, batch):
    """One logit s against batch - 1 zeros: ln(1 + (batch - 1) exp(-s)). A sum over the batch or over the directions,
    a denominator without the positive, or a division by the scale give something else."""
    features, scale = orthonormal(rng, batch, 20), 2.5
    want = number(math.log1p((batch - 1) * math.exp(-scale)))
    hint = "the mean over the batch and over both directions, and the positive stands in the denominator, too"
    expect_close(clip_loss(features, features, scale), want, what=f"the loss of {batch} orthogonal pairs", hint=hint)


@pytest.mark.stage(1)
def test_the_lengths_of_the_features_do_not_matter(rng):
    """The logits are cosines: a caption must not win because its vector is long. Each row has a length of its own."""
    images, texts = randn(rng, 5, 8), randn(rng, 5, 8)
    want = clip_loss(images, texts, 10.0)
    for name, pair in {
        "images": (images * lengths(rng, 5), texts),
        "texts": (images, texts * lengths(rng, 5)),
    }.items():
        hint = "divide each row by its Euclidean length: F.normalize(features, dim=-1), for images and for texts"
        expect_close(clip_loss(*pair, 10.0), want, what=f"the loss with {name} of other lengths", hint=hint)


@pytest.mark.stage(1)
def test_pairs_belong_together_by_their_place_in_the_batch(rng):
    """Shuffling the pairs changes nothing; shuffling the captions alone makes every label wrong."""
    features, order = orthonormal(rng, 6, 9), torch.tensor([4, 0, 3, 5, 2, 1])
    want = clip_loss(features, features, 5.0)
    got = clip_loss(features[order], features[order], 5.0)
    expect_close(got, want, what="the loss of the same pairs in another order", hint="the labels are 0, 1, 2, ...")
    got = clip_loss(features, features[order], 5.0)
    want = number(5.0 + math.log1p(5 * math.exp(-5.0)))  # s more, because the true pair's logit is 0
    expect_close(got, want, what="the loss of captions that are all mixed up", hint="the labels are 0, 1, 2, ...")


# Stage 2: any batch and width, limits, wrong arguments

SHAPES = [(1, 4), (2, 2), (5, 5), (3, 8), (8, 3), (4, 1)]


@pytest.mark.stage(2)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_images_and_texts_play_the_same_part(rng, shape):
    """Symmetric in its two arguments, which are left as they are."""
    images, texts = randn(rng, *shape), 3 * randn(rng, *shape)
    with expect_unchanged(images, texts, what="the features"):
        got = clip_loss(images, texts, 4.0)
    expect_equal(list(got.shape), [], what="the loss's shape", hint="one number for the batch")
    hint = "the same steps for rows and for columns"
    expect_close(got, clip_loss(texts, images, 4.0), what="clip_loss(images, texts)", hint=hint)


@pytest.mark.stage(2)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_encoders_that_know_nothing_lose_log_of_the_batch(rng, shape):
    """All logits equal: chance. The number to expect at the first step of training, and with the scale at 0."""
    batch, dim = shape
    alike = randn(rng, 1, dim).expand(batch, -1)
    want = number(math.log(batch))
    expect_close(clip_loss(alike, alike, 30.0), want, what=f"the loss of {batch} equal pairs", hint="ln(batch)")
    got = clip_loss(randn(rng, *shape), randn(rng, *shape), 0.0)
    expect_close(got, want, what=f"the loss of {batch} pairs at scale 0", hint="s multiplies the cosines")


@pytest.mark.stage(2)
def test_one_pair_alone_has_nothing_to_learn(rng):
    """Contrast comes from the batch: without negatives the loss is 0, however far apart the pair is."""
    got = clip_loss(randn(rng, 1, 5), randn(rng, 1, 5), 100.0)
    expect_close(got, number(0.0), what="the loss of a batch of one", hint="a softmax over one logit is 1")


@pytest.mark.stage(2)
def test_the_space_can_be_rotated(rng):
    """Only cosines between an image and a text count, not the axes, and not how alike the images are."""
    images, texts, rotation = randn(rng, 4, 6), randn(rng, 4, 6), orthonormal(rng, 6, 6)
    got, want = clip_loss(images @ rotation, texts @ rotation, 7.0), clip_loss(images, texts, 7.0)
    expect_close(got, want, what="the loss in a rotated space", hint="nothing is centred or scaled along an axis")


@pytest.mark.stage(2)
def test_the_scale_may_be_a_number_or_a_tensor(rng):
    """It is a learned parameter in training and a constant in evaluation, and the same factor in both."""
    images, texts = randn(rng, 4, 6), randn(rng, 4, 6)
    got = clip_loss(images, texts, torch.tensor(7.0, dtype=torch.float64))
    expect_close(got, clip_loss(images, texts, 7.0), what="the loss with the scale as a 0-d tensor")


@pytest.mark.stage(2)
@pytest.mark.parametrize("shapes", [((3, 4), (2, 4)), ((3, 4), (3, 5)), ((1, 4), (3, 4)), ((4,), (4,))], ids=str)
def test_features_that_do_not_pair_up_are_an_error(rng, shapes):
    """With unequal batches a row has no partner; the matrix product would not mind, and the labels would be wrong."""
    images, texts = (randn(rng, *shape) for shape in shapes)
    with expect_raises(ValueError, what=f"clip_loss of shapes {shapes[0]} and {shapes[1]}", hint="compare the shapes"):
        clip_loss(images, texts, 1.0)


# Stage 3: large scales, dtypes, gradients


@pytest.mark.stage(3)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_a_large_scale_stays_finite(rng, dtype):
    """exp(1e4) overflows. Matched pairs lose nothing, mixed-up ones the scale itself. Tolerance: rounding of 1e4."""
    features = orthonormal(rng, 4, 4).to(dtype)
    hint = "log_softmax or cross_entropy on the logits, not the logarithm of a softmax"
    got = clip_loss(features, features, 1e4)
    expect_close(got, torch.zeros((), dtype=dtype), what="the loss of matched pairs at scale 1e4", hint=hint)
    got = clip_loss(features, features.roll(1, 0), 1e4)
    want = torch.tensor(1e4, dtype=dtype)
    expect_close(got, want, what="the loss of mixed-up pairs at scale 1e4", hint=hint, rtol=1e-6, atol=0.0)


@pytest.mark.stage(3)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
def test_every_floating_dtype_works(rng, dtype):
    """The loss keeps the dtype, with the scale as a float32 parameter, too. Tolerance: 10 roundings of logits of 5."""
    images, texts = randn(rng, 6, 8, dtype=dtype), randn(rng, 6, 8, dtype=dtype)
    want = clip_loss(images.double(), texts.double(), 5.0).to(dtype)
    close = {"rtol": 0.0, "atol": 50 * torch.finfo(dtype).eps}
    for scale in (5.0, torch.tensor(5.0)):
        hint = "create nothing in another dtype on the way"
        expect_close(clip_loss(images, texts, scale), want, what=f"the loss in {dtype}", hint=hint, **close)


@pytest.mark.stage(3)
def test_the_loss_stays_on_the_features_device(rng):
    """Labels that are made on the CPU fail only once the model is elsewhere (here on 'meta'): device=logits.device."""
    images, texts = randn(rng, 3, 4).to("meta"), randn(rng, 3, 4).to("meta")
    device = clip_loss(images, texts, 2.0).device.type
    expect_equal(device, "meta", what="the loss's device for features on 'meta'", hint="device=logits.device")


@pytest.mark.stage(3)
def test_the_scale_learns(rng):
    """For orthogonal pairs dloss/ds = -(n - 1) / (exp(s) + n - 1): confident and right, the model turns it up."""
    features, scale = orthonormal(rng, 5, 6), number(1.5).requires_grad_()
    loss = clip_loss(features, features, scale)
    hint = "multiply by the tensor as it is: no .item(), float() or detach()"
    expect(loss.requires_grad, "the loss should depend on logit_scale, but has no gradient at all", hint=hint)
    loss.backward()
    want = number(-4 / (math.exp(1.5) + 4))
    expect_close(scale.grad, want, what="dloss / dlogit_scale for 5 orthogonal pairs", hint=hint)


@pytest.mark.stage(3)
def test_gradients_are_those_of_the_function(rng):
    """Finite differences in float64, for both encoders and the scale: nothing on the way may be detached."""
    inputs = [t.requires_grad_() for t in (randn(rng, 3, 4), randn(rng, 3, 4), number(3.0))]
    expect(clip_loss(*inputs).requires_grad, "the loss should be differentiable, but has no gradient at all")
    right = torch.autograd.gradcheck(clip_loss, inputs, raise_exception=False)
    sentence = "gradients should agree with finite differences, but do not"
    expect(right, sentence, hint="no detach(), no .data, no torch.no_grad(): normalising is part of the function")


@pytest.mark.stage(3)
def test_a_gradient_turns_a_feature_and_does_not_stretch_it(rng):
    """Lengths do not matter, so a gradient is perpendicular to its feature. Normalising without a gradient (the norm
    detached) leaves a part along it."""
    images, texts = randn(rng, 5, 6).requires_grad_(), randn(rng, 5, 6).requires_grad_()
    clip_loss(images, texts, 8.0).backward()
    for name, leaf in (("image", images), ("text", texts)):
        expect(leaf.grad is not None, f"{name} features should get a gradient, but get none", hint="detach nothing")
        along = (leaf.grad * leaf).sum(-1).detach()
        hint = "normalise inside the graph"
        expect_close(along, torch.zeros(5).double(), what=f"{name} gradients along their features", hint=hint)
        expect((leaf.grad != 0).any(-1).all(), f"each row of the {name} features should get a gradient", hint=hint)


# Stage 4: cost


@pytest.mark.stage(4)
def test_one_matrix_product_serves_both_directions(rng, cost):
    """texts @ images.T is the transpose of images @ texts.T: computing it again doubles the largest cost."""
    images, texts = randn(rng, 64, 128).float(), randn(rng, 64, 128).float()
    with cost() as spent:
        clip_loss(images, texts, 10.0)
    ratio = spent.flops / (2 * 64 * 64 * 128)
    sentence = f"a matrix product should form the logits, but only {ratio:.2f}x its FLOPs were seen"
    expect(
        ratio > 0.9, sentence, hint="images @ texts.T; broadcasting forms a tensor of [batch, batch, dim] on the way"
    )
    sentence = f"the loss should cost one product of [64, 128] and [128, 64], but cost {ratio:.2f}"
    expect(ratio <= 1.05, sentence, hint="the second direction is a softmax along the other axis of the same logits")


@pytest.mark.stage(4)
def test_operators_do_not_grow_with_the_batch(rng, cost):
    """CLIP's batch has 32 768 pairs: no loop over them."""
    counts = []
    for batch in (4, 64):
        images, texts = randn(rng, batch, 8), randn(rng, batch, 8)
        with cost() as spent:
            clip_loss(images, texts, 10.0)
        counts.append(spent.operators)
    expect(counts[0] > 0, "torch operators should do the work, but none were seen")
    sentence = f"64 pairs should take about as many operators as 4 ({counts[0]}), but took {counts[1]}"
    expect(counts[1] <= counts[0] + 5, sentence, hint="cross_entropy takes all rows at once")
