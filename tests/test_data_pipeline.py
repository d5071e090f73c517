"""What any right pipeline does. Labels are indices, so that every sample in a batch tells where it comes from."""

import pytest
import torch
from torch.utils.data import DataLoader

from dojo.testing import (
    draw,
    expect,
    expect_close,
    expect_distribution,
    expect_equal,
    expect_raises,
    expect_rng_untouched,
    expect_unchanged,
    randint,
    randn,
)
from katas.data_pipeline import ImageDataset, channel_stats, make_loaders, random_flip, split_indices

PARTS = {"training": 0, "validation": 1, "test": 2}
SHARES = (0.5, 0.3, 0.2)


def seeded(number=3):
    return torch.Generator().manual_seed(number)


def photos(rng, n=23, dtype=torch.float64):
    """Channels at different heights and spreads; every image has a brightness of its own, so that no subset has the
    statistics of another."""
    scale = torch.tensor([1.0, 3.0], dtype=torch.float64)[:, None, None]
    offset = torch.tensor([5.0, -2.0], dtype=torch.float64)[:, None, None]
    images = (randn(rng, n, 2, 3, 4) + 2 * randn(rng, n, 1, 1, 1)) * scale + offset
    return images.to(dtype), torch.arange(n)


def everything(loader):
    """All images and all labels of one pass, in their order."""
    images, labels = zip(*[(images, torch.as_tensor(labels)) for images, labels in loader], strict=True)
    return torch.cat(images), torch.cat(labels)


def normalised(images, training):
    """`images` by the statistics of `training`, as the definition says."""
    std, mean = torch.std_mean(training, dim=(0, 2, 3), correction=0, keepdim=True)
    return (images - mean) / std


class Counting:
    """A dataset that notes what is read."""

    def __init__(self, images, labels):
        self.pairs = list(zip(images, labels, strict=True))
        self.reads = []

    def __len__(self):
        return len(self.pairs)

    def __getitem__(self, index):
        self.reads.append(int(index))
        return self.pairs[index]


# Stage 1: each piece, and the loaders once


@pytest.mark.stage(1)
def test_every_index_is_in_exactly_one_part(seed):
    """10 samples by 0.7, 0.2, 0.1. A sample that is in two parts is tested on after it was trained on."""
    parts = split_indices(10, (0.7, 0.2, 0.1), generator=seeded(seed))
    expect_equal([len(part) for part in parts], [7, 2, 1], what="the sizes of a 0.7, 0.2, 0.1 split of 10")
    together = sorted(int(i) for part in parts for i in part)
    expect_equal(together, list(range(10)), what="all indices, sorted", hint="cut one permutation into pieces")


@pytest.mark.stage(1)
def test_the_split_is_random(rng):
    """Data often lie sorted by class: the last tenth may be one class. Each index is left out equally often.
    Chi-square, N = 1000: 1e-6 false alarms."""
    held_out = draw(lambda: torch.tensor([int(i) for i in split_indices(8, (0.875, 0.125), generator=rng)[1]]), 1000)
    hint = "permute the indices with torch.randperm before you cut them"
    expect_distribution(held_out, torch.full((8,), 1 / 8), what="the index that is held out", hint=hint)


@pytest.mark.stage(1)
def test_a_dataset_pairs_each_image_with_its_label(rng):
    """len and [i] are all that a DataLoader asks of a dataset."""
    images, labels = photos(rng, 5)
    dataset = ImageDataset(images, labels * 10)
    expect_equal(len(dataset), 5, what="len(dataset)")
    for index in range(5):
        image, label = dataset[index]
        expect_equal(image, images[index], what=f"the image of dataset[{index}]")
        expect_equal(int(label), index * 10, what=f"the label of dataset[{index}]")


@pytest.mark.stage(1)
def test_the_transform_is_applied_whenever_an_image_is_read(rng):
    """A random transform must give another image in every epoch: applying it once, up front, freezes its dice."""
    images, labels = photos(rng, 3)
    calls = []
    dataset = ImageDataset(images, labels, lambda image: calls.append(0) or image + len(calls))
    expect_equal(len(calls), 0, what="calls of the transform before anything is read")
    for call in (1, 2):
        expect_close(
            dataset[1][0], images[1] + call, what=f"the image at reading {call}", hint="call it in __getitem__"
        )


@pytest.mark.stage(1)
def test_statistics_are_per_channel_over_all_pixels():
    """A worked example of two 1 x 2 images: channel 0 holds 0, 0, 4, 4 and channel 1 holds 1, 2, 3, 6. Divided by N, not
    N - 1; nor is it the average of the images' own deviations, which are 0 in channel 0."""
    images = torch.tensor([[[[0.0, 0.0]], [[1.0, 2.0]]], [[[4.0, 4.0]], [[3.0, 6.0]]]], dtype=torch.float64)
    mean, std = channel_stats(ImageDataset(images, torch.arange(2)))
    hint = "sums over height, width and images; one number for each channel"
    expect_close(mean, torch.tensor([2.0, 3.0], dtype=torch.float64), what="the mean", hint=hint)
    wanted = torch.tensor([2.0, 3.5**0.5], dtype=torch.float64)
    expect_close(
        std, wanted, what="the standard deviation", hint="over N pixels, not N - 1: torch.std(..., correction=0)"
    )


@pytest.mark.stage(1)
def test_a_flip_mirrors_left_and_right(rng):
    """p = 1 always, p = 0 never. Upside down is another augmentation, and a bad one for digits."""
    image = torch.arange(6.0).view(1, 2, 3)
    mirrored = torch.tensor([[[2.0, 1.0, 0.0], [5.0, 4.0, 3.0]]])
    for _ in range(10):
        got = random_flip(image, 1.0, generator=rng)
        expect_equal(got, mirrored, what="random_flip([[0, 1, 2], [3, 4, 5]], p=1)", hint="flip the last dimension")
        expect_equal(random_flip(image, 0.0, generator=rng), image, what="random_flip(image, p=0)")


@pytest.mark.stage(1)
def test_training_images_come_out_with_mean_0_and_deviation_1(rng):
    """The point of normalising, and the proof that the statistics are those of the training part: with any others the
    result would be near 0 and 1, not equal to them."""
    train, *_ = make_loaders(ImageDataset(*photos(rng)), SHARES, 4, generator=rng)
    expect(isinstance(train, DataLoader), f"make_loaders should give DataLoaders, but gave {type(train).__name__}")
    std, mean = torch.std_mean(everything(train)[0], dim=(0, 2, 3), correction=0)
    hint = "channel_stats of the training part alone, then (image - mean) / std for each channel"
    expect_close(mean, torch.zeros(2).double(), what="the channels' means over the training loader", hint=hint)
    expect_close(std, torch.ones(2).double(), what="the channels' deviations over the training loader", hint=hint)


# Stage 2: rounding, reproducibility, leaks, odd arguments


@pytest.mark.stage(2)
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


@pytest.mark.stage(2)
@pytest.mark.parametrize("fractions", [(0.7, 0.2), (0.7, 0.7), (0.8, 0.3, -0.1), (float("nan"), 1.0, 0.0)], ids=str)
def test_fractions_that_are_no_split_are_refused(rng, fractions):
    """Those that sum to less silently throw data away."""
    with expect_raises(ValueError, what=f"split_indices with {fractions}", hint="at least 0 each, and 1 together"):
        split_indices(10, fractions, generator=rng)
    if len(fractions) == 3:
        with expect_raises(ValueError, what=f"make_loaders with {fractions}"):
            make_loaders(ImageDataset(*photos(rng)), fractions, 4, generator=rng)


@pytest.mark.stage(2)
def test_equal_generators_give_equal_splits(seed):
    """Otherwise yesterday's test data are in today's training part. And the generator is the only dice."""
    with expect_rng_untouched(what="split_indices"):
        first, again, other = (split_indices(50, SHARES, generator=seeded(s)) for s in (seed, seed, seed + 1))
    first, again, other = ([[int(i) for i in part] for part in parts] for parts in (first, again, other))
    expect_equal(again, first, what="the split of an equally seeded generator", hint="randperm(n, generator=generator)")
    expect(other != first, "another seed should give another split, but gave the same", hint="do not seed it yourself")


@pytest.mark.stage(2)
def test_reading_never_changes_the_stored_images(rng):
    """`image.mul_(2)` in a transform would double the data once per epoch; images[i] is a view into them."""
    images, labels = photos(rng, 4)
    hint = "clone the image before the transform sees it and before you give it away"
    with expect_unchanged(images, what="the stored images", hint=hint):
        ImageDataset(images, labels, lambda image: image.mul_(2))[1]
        ImageDataset(images, labels)[2][0].zero_()


@pytest.mark.stage(2)
def test_a_dataset_refuses_what_does_not_pair_up_and_ends(rng):
    """Python's own iteration ends at the IndexError."""
    images, labels = photos(rng, 4)
    with expect_raises(ValueError, what="ImageDataset of 4 images and 3 labels"):
        ImageDataset(images, labels[:3])
    dataset = ImageDataset(images, labels)
    with expect_raises(IndexError, what="dataset[4] of 4 images"):
        dataset[4]


@pytest.mark.stage(2)
def test_every_pixel_weighs_the_same(rng):
    """Images of different sizes: the mean of image means would let a thumbnail weigh as much as a poster."""
    images = [randn(rng, 3, h, w) + h for h, w in ((1, 1), (2, 5), (6, 4))]
    mean, std = channel_stats([(image, 0) for image in images])
    pixels = torch.cat([image.flatten(1) for image in images], 1)
    hint = "add up pixels, squares and the number of pixels; divide once at the end"
    expect_close(mean, pixels.mean(1), what="the mean over images of three sizes", hint=hint)
    expect_close(std, pixels.std(1, correction=0), what="the deviation over images of three sizes", hint=hint)


@pytest.mark.stage(2)
def test_nothing_has_no_statistics():
    """0 / 0 would be NaN, and so would every image be from then on."""
    with expect_raises(ValueError, what="channel_stats of an empty dataset"):
        channel_stats([])


@pytest.mark.stage(2)
@pytest.mark.parametrize("p", [0.2, 0.7])
def test_an_image_is_flipped_with_probability_p(rng, p):
    """Chi-square, N = 1000: 1e-6 false alarms."""
    image = torch.tensor([[[0, 1]]])
    with expect_rng_untouched(what="random_flip"):
        flips = draw(lambda: random_flip(image, p, generator=rng).flatten()[:1], 1000)
    wanted = torch.tensor([1 - p, p])
    expect_distribution(flips, wanted, what=f"flips at p={p}", hint="flip when a uniform number is below p")


@pytest.mark.stage(2)
def test_flips_repeat_with_their_generator_and_leave_the_input_alone(rng, seed):
    """The whole image is flipped, all channels alike, or not at all."""
    image = randn(rng, 3, 2, 4)
    with expect_unchanged(image):
        runs = [[random_flip(image, 0.5, generator=g) for _ in range(40)] for g in (seeded(seed), seeded(seed))]
    expect_equal(torch.stack(runs[1]), torch.stack(runs[0]), what="40 flips, repeated", hint="draw from `generator`")
    whole = all(torch.equal(out, image) or torch.equal(out, image.flip(-1)) for out in runs[0])
    expect(whole, "each result should be the image or its mirror image, but one is neither", hint="one draw per image")


@pytest.mark.stage(2)
@pytest.mark.parametrize("p", [-0.1, 1.5, float("nan")])
def test_a_probability_outside_0_and_1_is_refused(rng, p):
    """50 instead of 0.5 would flip every image."""
    with expect_raises(ValueError, what=f"random_flip with p={p}"):
        random_flip(torch.ones(1, 2, 2), p, generator=rng)


@pytest.mark.stage(2)
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


@pytest.mark.stage(2)
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


@pytest.mark.stage(2)
def test_augmentation_is_fresh_in_every_pass(rng):
    """Frozen augmentation is no augmentation: the model sees the same 11 images in every epoch."""
    calls = []
    dataset = ImageDataset(torch.zeros(20, 1, 1, 2), torch.arange(20))
    transform = lambda image: calls.append(0) or image + len(calls)  # noqa: E731
    train, *_ = make_loaders(dataset, SHARES, 4, generator=rng, train_transform=transform)
    seen = torch.cat([everything(train)[0] for _ in range(2)]).flatten(1)[:, 0]
    hint = "transform in __getitem__, so that every reading draws again"
    expect_equal(seen.unique().numel(), 20, what="different images in two passes over 10 samples", hint=hint)


@pytest.mark.stage(2)
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


@pytest.mark.stage(2)
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


@pytest.mark.stage(2)
def test_the_generator_is_the_only_dice(rng, seed):
    """A run is repeated by one seed. A DataLoader without a generator takes a seed from the global stream whenever it
    is iterated over, even if it does not shuffle, and everything else that draws there moves on."""
    dataset, runs = ImageDataset(*photos(rng, 40)), []
    hint = "hand the generator to split_indices and to every DataLoader"
    for number in (seed, seed, seed + 1):
        with expect_rng_untouched(what="making and reading the loaders", hint=hint):
            loaders = make_loaders(dataset, SHARES, 8, generator=seeded(number))
            runs.append([everything(loader)[1].tolist() for loader in (*loaders, loaders[0])])
        torch.rand(1)
    expect_equal(runs[1], runs[0], what="the samples' order under an equally seeded generator", hint=hint)
    expect(runs[2] != runs[0], "another seed should give another order, but gave the same", hint=hint)


@pytest.mark.stage(2)
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


@pytest.mark.stage(2)
def test_any_sequence_of_pairs_will_do(rng):
    """A list has len and [i] as well; it has no `images`."""
    images, labels = photos(rng)
    train, *_ = make_loaders(list(zip(images, labels, strict=True)), SHARES, 4, generator=rng)
    got, which = everything(train)
    expect_close(got, normalised(images[which], images[which]), what="the training images of a list")


@pytest.mark.stage(2)
def test_only_the_training_part_must_have_samples(rng):
    """Without a test part there is simply nothing to iterate over; without a training part there are no statistics."""
    dataset = ImageDataset(*photos(rng, 24))
    loaders = make_loaders(dataset, (0.5, 0.5, 0.0), 4, generator=rng)
    expect_equal(len(list(loaders[2])), 0, what="the number of batches of an empty test part")
    with expect_raises(ValueError, what="make_loaders without training samples"):
        make_loaders(dataset, (0.0, 0.5, 0.5), 4, generator=rng)
    with expect_raises(ValueError, what="make_loaders with two fractions"):
        make_loaders(dataset, (0.5, 0.5), 4, generator=rng)


@pytest.mark.stage(2)
def test_a_constant_channel_becomes_zero(rng):
    """An unused alpha channel has deviation 0, and 0 / 0 is NaN in every image from then on."""
    images, labels = photos(rng)
    images[:, 1] = 0.5
    train, val, _ = make_loaders(ImageDataset(images, labels), SHARES, 4, generator=rng)
    for part, loader in (("training", train), ("validation", val)):
        got = everything(loader)[0][:, 1]
        hint = "divide by 1 where the deviation is 0"
        expect_close(got, torch.zeros_like(got), what=f"a constant channel in {part}", hint=hint)


# Stage 3: dtypes and precision


@pytest.mark.stage(3)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.uint8], ids=str)
def test_images_keep_their_dtype_and_integers_become_float32(rng, dtype):
    """float64 statistics promote every image to float64, twice the memory, and the model's weights do not fit. Stored
    bytes become float32. Half precision is only checked roughly: there the order of roundings matters."""
    pixels = randint(rng, 0, 256, 40, 3, 4, 4)
    pixels[:20] //= 3
    images = pixels.to(dtype) if dtype in (torch.uint8, torch.float64) else (pixels / 255).to(dtype)
    train, *_ = make_loaders(ImageDataset(images, torch.arange(40)), (0.8, 0.1, 0.1), 8, generator=rng)
    got, which = everything(train)
    wanted = normalised(images[which].double(), images[which].double())
    rough = {torch.float16: 0.02, torch.bfloat16: 0.1}.get(dtype, 1e-5)
    wanted = wanted.to(torch.float32 if dtype == torch.uint8 else dtype)
    expect_close(got, wanted, what=f"normalised {dtype} images", hint="cast last", rtol=rough, atol=rough)


@pytest.mark.stage(3)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.uint8], ids=str)
def test_statistics_are_summed_in_float64(rng, dtype):
    """Half-precision sums overflow at 65504, bytes wrap around at 256, and in float32 the mean of the squares minus the
    square of the mean loses all its digits where the mean is large."""
    pixels = randint(rng, 0, 8, 30, 2, 20, 20) + 120
    mean, std = channel_stats(ImageDataset(pixels.to(dtype), torch.arange(30)))
    hint = "convert to float64 first; results in float64"
    expect_close(mean, pixels.double().mean((0, 2, 3)), what=f"the mean of {dtype}", hint=hint)
    expect_close(std, pixels.double().std((0, 2, 3), correction=0), what=f"the deviation of {dtype}", hint=hint)


@pytest.mark.stage(3)
def test_a_small_spread_far_from_zero_is_measured(rng):
    """1000 +- 0.1 in float32: sums of float32 squares near 1e6 cannot resolve a variance of 0.01."""
    images = (1000 + 0.1 * randn(rng, 20, 1, 8, 8)).float()
    _, std = channel_stats(ImageDataset(images, torch.arange(20)))
    wanted = images.double().std(correction=0)[None]
    expect_close(std, wanted, what="the deviation", hint="convert to float64 before you square", rtol=1e-5, atol=1e-7)


@pytest.mark.stage(3)
def test_a_constant_channel_has_deviation_0():
    """E[x^2] - E[x]^2 is 0 give or take a rounding error; half of the time it is below 0, and its root is NaN."""
    image = (torch.arange(40, dtype=torch.float64) / 7)[:, None, None].expand(-1, 3, 5)
    mean, std = channel_stats([(image, 0)] * 3)
    hint = "clamp the variance at 0 before the root"
    expect_close(mean, image[:, 0, 0], what="the mean of constant channels", hint=hint)
    expect_close(std, torch.zeros(40).double(), what="the deviation of constant channels", hint=hint, rtol=0, atol=1e-6)


@pytest.mark.stage(3)
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.uint8], ids=str)
def test_flips_take_any_dtype_and_layout(rng, dtype):
    """Channels-last images are not contiguous."""
    image = randint(rng, 0, 200, 4, 5, 3).to(dtype).permute(2, 0, 1)
    expect_equal(random_flip(image, 1.0, generator=rng), image.flip(-1), what=f"a flipped {dtype} image")


# Stage 4: cost


@pytest.mark.stage(4)
def test_statistics_read_every_sample_once(rng):
    """Reading and decoding is what data cost: one pass does for both numbers."""
    dataset = Counting(*photos(rng, 12))
    channel_stats(dataset)
    hint = "sums of x and of x squared come from the same pass"
    expect_equal(sorted(dataset.reads), list(range(12)), what="the indices read", hint=hint)


@pytest.mark.stage(4)
def test_images_are_read_when_they_are_needed(rng):
    """Setting up measures the training part, and touches nothing else: what is never read cannot leak. Afterwards a
    batch reads its own samples only, so that a dataset may be larger than memory."""
    dataset = Counting(*photos(rng, 20))
    loaders = make_loaders(dataset, SHARES, 2, generator=rng)
    before = sorted(dataset.reads)
    training = sorted(everything(loaders[0])[1].tolist())
    expect_equal(before, training, what="the indices read by make_loaders", hint="the training part, once")
    dataset.reads.clear()
    _, labels = next(iter(loaders[1]))
    expect_equal(dataset.reads, labels.tolist(), what="the indices read for one batch", hint="read in __getitem__")
