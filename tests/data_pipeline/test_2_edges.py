"""Stage 2. Rounding, reproducibility, leaks, odd arguments."""

import pytest
import torch

from dojo.testing import (
    draw,
    expect,
    expect_close,
    expect_distribution,
    expect_equal,
    expect_raises,
    expect_rng_untouched,
    expect_seeded,
    expect_unchanged,
    randn,
    seeded,
)
from katas.data_pipeline import ImageDataset, channel_stats, make_loaders, random_flip, split_indices

from .helpers import SHARES, everything, normalised, photos

PARTS = {"training": 0, "validation": 1, "test": 2}


@pytest.mark.parametrize("n", [0, 1, 7, 100, 101])
@pytest.mark.parametrize("fractions", [(1.0,), (1 / 3, 1 / 3, 1 / 3), (0.29, 0.57, 0.14), (0.0, 0.5, 0.5)], ids=str)
def test_no_index_is_lost_to_rounding(seed, n, fractions):
    """int(100 * 0.29) is 28, and three thirds of 100 are 99: what rounding leaves over belongs to somebody."""
    parts = split_indices(n, fractions, generator=seeded(seed))
    hint = "the sizes must add up to n: give the remainder away, or cut at rounded cumulative sums"
    dealt = sorted(int(i) for part in parts for i in part)
    sentence = f"the parts should hold each of the {n} indices once, but hold {len(dealt)}, {len(set(dealt))} of them different"
    expect(dealt == list(range(n)), sentence, hint=hint)
    expect_equal(len(parts), len(fractions), what="the number of parts")
    for part, fraction in zip(parts, fractions, strict=True):
        close = abs(len(part) - n * fraction) <= 1 + 1e-6
        expect(
            close, f"{fraction:.3g} of {n} should be {n * fraction:.6g}, give or take 1, but is {len(part)}", hint=hint
        )


def test_equal_generators_give_equal_splits(seed):
    """Otherwise yesterday's test data are in today's training part. And the generator is the only dice."""

    def split(generator):
        return [[int(i) for i in part] for part in split_indices(50, SHARES, generator=generator)]

    expect_seeded(split, what="split_indices", hint="randperm(n, generator=generator)", seed=seed, optional=False)


def test_reading_never_changes_the_stored_images(rng):
    """`image.mul_(2)` in a transform would double the data once per epoch; images[i] is a view into them."""
    images, labels = photos(rng, 4)
    hint = "clone the image before the transform sees it and before you give it away"
    with expect_unchanged(images, what="the stored images", hint=hint):
        ImageDataset(images, labels, lambda image: image.mul_(2))[1]
        ImageDataset(images, labels)[2][0].zero_()


def test_every_pixel_weighs_the_same(rng):
    """Images of different sizes: the mean of image means would let a thumbnail weigh as much as a poster."""
    images = [randn(rng, 3, h, w) + h for h, w in ((1, 1), (2, 5), (6, 4))]
    mean, std = channel_stats([(image, 0) for image in images])
    pixels = torch.cat([image.flatten(1) for image in images], 1)
    hint = "add up pixels, squares and the number of pixels; divide once at the end"
    expect_close(mean, pixels.mean(1), what="the mean over images of three sizes", hint=hint)
    expect_close(std, pixels.std(1, correction=0), what="the deviation over images of three sizes", hint=hint)


@pytest.mark.parametrize("p", [0.2, 0.7])
def test_an_image_is_flipped_with_probability_p(rng, p):
    """Chi-square, N = 1000: 1e-6 false alarms."""
    image = torch.tensor([[[0, 1]]])
    with expect_rng_untouched(what="random_flip"):
        flips = draw(lambda: random_flip(image, p, generator=rng).flatten()[:1], 1000)
    wanted = torch.tensor([1 - p, p])
    expect_distribution(flips, wanted, what=f"flips at p={p}", hint="flip when a uniform number is below p")


def test_flips_repeat_with_their_generator_and_leave_the_input_alone(rng, seed):
    """The whole image is flipped, all channels alike, or not at all."""
    image = randn(rng, 3, 2, 4)

    def flips(generator):
        return torch.stack([random_flip(image, 0.5, generator=generator) for _ in range(40)])

    with expect_unchanged(image):
        expect_seeded(flips, what="40 flips", hint="draw from `generator`", seed=seed, optional=False)
    whole = all(torch.equal(out, image) or torch.equal(out, image.flip(-1)) for out in flips(rng))
    expect(whole, "each result should be the image or its mirror image, but one is neither", hint="one draw per image")


@pytest.mark.parametrize("part", ["validation", "test"])
def test_validation_and_test_see_the_training_statistics_and_no_augmentation(rng, part):
    """Statistics of their own would be a leak, and would normalise the same image differently. An augmented validation
    score measures the augmentation."""
    images, labels = photos(rng)
    loaders = make_loaders(ImageDataset(images, labels), SHARES, 4, generator=rng, train_transform=lambda x: x + 100)
    training = images[everything(loaders[0])[1]]
    got, which = everything(loaders[PARTS[part]])
    wanted = normalised(images[which], training)
    hint = "the training part's statistics, and train_transform for the training part only"
    expect_close(got, wanted, what=f"the {part} images", hint=hint)


def test_training_images_are_augmented_first_and_normalised_then(rng):
    """Augmentations are made for pixels as they are; the statistics are of the images without them."""
    images, labels = photos(rng)
    train, *_ = make_loaders(
        ImageDataset(images, labels), SHARES, 4, generator=rng, train_transform=lambda x: x.flip(-1) * 2 + 1
    )
    got, which = everything(train)
    wanted = normalised(images[which].flip(-1) * 2 + 1, images[which])
    hint = "image -> train_transform -> minus the mean -> divided by the deviation of the plain images"
    expect_close(got, wanted, what="the training images", hint=hint)


def test_augmentation_is_fresh_in_every_pass(rng):
    """Frozen augmentation is no augmentation: the model sees the same 11 images in every epoch."""
    calls = []
    dataset = ImageDataset(torch.zeros(20, 1, 1, 2), torch.arange(20))
    transform = lambda image: calls.append(0) or image + len(calls)  # noqa: E731
    train, *_ = make_loaders(dataset, SHARES, 4, generator=rng, train_transform=transform)
    seen = torch.cat([everything(train)[0] for _ in range(2)]).flatten(1)[:, 0]
    hint = "transform in __getitem__, so that every reading draws again"
    expect_equal(seen.unique().numel(), 20, what="different images in two passes over 10 samples", hint=hint)


@pytest.mark.parametrize("part", PARTS)
def test_every_loader_gives_each_of_its_samples_once(rng, part):
    """Batches of 5 do not divide 12 or 7. In validation, a dropped last batch means that the same samples never count."""
    loaders = make_loaders(ImageDataset(*photos(rng, 24)), SHARES, 5, generator=rng)
    which = [sorted(everything(loader)[1].tolist()) for loader in loaders]
    expect_equal(
        sorted(i for part in which for i in part),
        list(range(24)),
        what="all samples of the three loaders",
        hint="no drop_last",
    )
    sizes = [len(labels) for _, labels in loaders[PARTS[part]]]
    full, rest = divmod(len(which[PARTS[part]]), 5)
    hint = "batches of batch_size, and what is left over as the last one"
    expect_equal(sizes, [5] * full + [rest] * (rest > 0), what=f"the {part} loader's batch sizes", hint=hint)


def test_only_training_is_shuffled_and_anew_in_every_pass(rng):
    """Without shuffling, batches stay the same for ever; with shuffled validation, per-sample results do not line up.
    That two orders of 50 agree by chance has probability 1e-64."""
    loaders = make_loaders(ImageDataset(*photos(rng, 100)), SHARES, 8, generator=rng)
    for part, number in PARTS.items():
        first, second = (everything(loaders[number])[1].tolist() for _ in range(2))
        if part == "training":
            expect(first != second, "two training passes should differ in their order, but agree", hint="shuffle=True")
        else:
            expect_equal(second, first, what=f"the second pass over the {part} part", hint="shuffle=False")


def test_the_generator_is_the_only_dice(rng, seed):
    """A run is repeated by one seed. A DataLoader without a generator takes a seed from the global stream whenever it
    is iterated over, even if it does not shuffle, and everything else that draws there moves on."""
    dataset = ImageDataset(*photos(rng, 40))

    def order(generator):
        loaders = make_loaders(dataset, SHARES, 8, generator=generator)
        return [everything(loader)[1].tolist() for loader in (*loaders, loaders[0])]

    hint = "hand the generator to split_indices and to every DataLoader"
    expect_seeded(order, what="the samples' order in the loaders", hint=hint, seed=seed, optional=False)


def test_the_dataset_is_left_as_it_was(rng):
    """Parts of a split share one dataset: a transform that is set on it for training is set for validation as well."""
    images, labels = photos(rng)
    dataset = ImageDataset(images, labels, lambda image: image * 3)
    train, val, _ = make_loaders(dataset, SHARES, 4, generator=rng, train_transform=lambda image: image + 100)
    got, which = everything(val)
    training = images[everything(train)[1]]
    hint = "wrap the training part in a dataset of its own that transforms and normalises"
    expect_close(dataset[0][0], images[0] * 3, what="dataset[0] afterwards", hint=hint)
    expect_close(got, normalised(images[which] * 3, training * 3), what="the validation images", hint=hint)


def test_any_sequence_of_pairs_will_do(rng):
    """A list has len and [i] as well; it has no `images`."""
    images, labels = photos(rng)
    train, *_ = make_loaders(list(zip(images, labels, strict=True)), SHARES, 4, generator=rng)
    got, which = everything(train)
    expect_close(got, normalised(images[which], images[which]), what="the training images of a list")


def test_a_constant_channel_becomes_zero(rng):
    """An unused alpha channel has deviation 0, and 0 / 0 is NaN in every image from then on."""
    images, labels = photos(rng)
    images[:, 1] = 0.5
    train, val, _ = make_loaders(ImageDataset(images, labels), SHARES, 4, generator=rng)
    for part, loader in (("training", train), ("validation", val)):
        got = everything(loader)[0][:, 1]
        hint = "divide by 1 where the deviation is 0"
        expect_close(got, torch.zeros_like(got), what=f"a constant channel in {part}", hint=hint)


def test_an_empty_test_part_has_no_batches(rng):
    """There is simply nothing to iterate over."""
    loaders = make_loaders(ImageDataset(*photos(rng, 24)), (0.5, 0.5, 0.0), 4, generator=rng)
    expect_equal(len(list(loaders[2])), 0, what="the number of batches of an empty test part")


@pytest.mark.parametrize("fractions", [(0.7, 0.2), (0.7, 0.7), (0.8, 0.3, -0.1), (float("nan"), 1.0, 0.0)], ids=str)
def test_fractions_that_are_no_split_are_refused(rng, fractions):
    """Those that sum to less silently throw data away."""
    with expect_raises(ValueError, what=f"split_indices with {fractions}", hint="at least 0 each, and 1 together"):
        split_indices(10, fractions, generator=rng)
    if len(fractions) == 3:
        with expect_raises(ValueError, what=f"make_loaders with {fractions}"):
            make_loaders(ImageDataset(*photos(rng)), fractions, 4, generator=rng)


def test_a_dataset_refuses_what_does_not_pair_up_and_ends(rng):
    """Python's own iteration ends at the IndexError."""
    images, labels = photos(rng, 4)
    with expect_raises(ValueError, what="ImageDataset of 4 images and 3 labels"):
        ImageDataset(images, labels[:3])
    dataset = ImageDataset(images, labels)
    with expect_raises(IndexError, what="dataset[4] of 4 images"):
        dataset[4]


def test_nothing_has_no_statistics():
    """0 / 0 would be NaN, and so would every image be from then on."""
    with expect_raises(ValueError, what="channel_stats of an empty dataset"):
        channel_stats([])


@pytest.mark.parametrize("p", [-0.1, 1.5, float("nan")])
def test_a_probability_outside_0_and_1_is_refused(rng, p):
    """50 instead of 0.5 would flip every image."""
    with expect_raises(ValueError, what=f"random_flip with p={p}"):
        random_flip(torch.ones(1, 2, 2), p, generator=rng)


def test_a_split_without_training_samples_is_refused(rng):
    """Without a training part there are no statistics."""
    dataset = ImageDataset(*photos(rng, 24))
    with expect_raises(ValueError, what="make_loaders without training samples"):
        make_loaders(dataset, (0.0, 0.5, 0.5), 4, generator=rng)
    with expect_raises(ValueError, what="make_loaders with two fractions"):
        make_loaders(dataset, (0.5, 0.5), 4, generator=rng)
