"""What can be seen of a data pipeline. Splits are free, so the loaders read a dataset that gives the n-th image to whoever
reads n-th: the training part, which is read first, holds the same images whatever the split."""

import torch

from dojo.testing import randint, randn
from dojo.testing.probes import Case, Draws, Pairs

# Of 32 samples: exact fractions, more than can come twice in one order by chance, and last batches that are short.
SIZES = ((18, 9, 5), (14, 11, 7), (18, 7, 7), (15, 11, 6), (17, 10, 5), (15, 9, 8))
FLIPS, SPLITS = 400, 300


def whole(rng, low, high):
    return int(randint(rng, low, high, 1))


def uniform(rng, low, high, n):
    return [low + (high - low) * share for share in torch.rand(n, generator=rng, dtype=torch.float64).tolist()]


def sizes(rng):
    train, *rest = SIZES[whole(rng, 0, len(SIZES))]
    return [train, *rest[:: 1 - 2 * whole(rng, 0, 2)]]


def photos(rng, n):
    """Each of its own brightness, so that no two parts have the same statistics."""
    return (randn(rng, n, 2, 2, 3) + 2 * randn(rng, n, 1, 1, 1)) * torch.tensor([1.0, 3.0]).view(2, 1, 1) + 4


def cases(rng):
    questions = [[8 * whole(rng, 2, 20), randint(rng, 0, 3, 8).bincount(minlength=3).tolist()] for _ in range(12)]
    questions = [[n, [eighths / 8 for eighths in parts]] for n, parts in questions]
    yield Case("split", of="split_indices", questions=questions, seed=whole(rng, 0, 2**31))
    for name, n, fractions in (
        ("thirds", 100, (1 / 3, 1 / 3, 1 / 3)),
        ("short", 10, (0.5, 0.3, 0.1)),
        ("negative", 10, (0.8, 0.3, -0.1)),
    ):
        yield Case(f"split {name}", of="split_indices", questions=[[n, list(fractions)]], seed=whole(rng, 0, 2**31))
    for name in ("dealt", "dealt again"):
        fractions = [size / 32 for size in sizes(rng)]
        pair = torch.randperm(32, generator=rng)[:2].tolist()
        yield Case(f"split {name}", of="split_indices", pair=pair, fractions=fractions, seed=whole(rng, 0, 2**31))
    for name in ("plain", "counting", "in place", "too few labels"):
        labels = randint(rng, 0, 1000, 3 if name == "too few labels" else 6)
        yield Case(f"dataset {name}", of="ImageDataset", images=photos(rng, 6), labels=labels, index=whole(rng, 0, 6))
    yield Case("stats", of="channel_stats", images=list(photos(rng, 20)))
    yield Case("stats sizes", of="channel_stats", images=[randn(rng, 3, h, 2) + h for h in (1, 3, 7)])
    yield Case("stats far", of="channel_stats", images=list((1000 + 0.1 * randn(rng, 9, 1, 8, 8)).float()))
    yield Case("stats bytes", of="channel_stats", images=list(randint(rng, 0, 256, 5, 2, 9, 9).byte()))
    yield Case("stats constant", of="channel_stats", images=[5 * randn(rng, 60, 1, 1)] * 3)
    yield Case("stats empty", of="channel_stats", images=[])
    for p in (0.0, 1.0):
        yield Case(f"flip p={p}", of="random_flip", image=randn(rng, 2, 3, 4), p=p)
    for p in (-0.1, 1.5):
        yield Case(f"flip p={p}", of="random_flip", image=randn(rng, 2, 3, 4), p=p)
    # On both sides of one half, where p and 1 - p are alike.
    chances = [*uniform(rng, 0.15, 0.3, 1), *uniform(rng, 0.7, 0.85, 1), *uniform(rng, 0.15, 0.85, 1)]
    yield Case("flip chances", of="random_flip", chances=chances, seed=whole(rng, 0, 2**31))
    for name in ("", " augmented", " constant", " float", " bytes"):
        images = photos(rng, 32)
        if name == " constant":
            images[:, 1] = whole(rng, 1, 99) / 8
        images = images.float() if name == " float" else (images * 5 + 99).byte() if name == " bytes" else images
        change = [uniform(rng, 1.5, 3.0, 1)[0], uniform(rng, 5.0, 9.0, 1)[0]] if name == " augmented" else None
        yield loading(rng, name, [size / 32 for size in sizes(rng)], images, change)
    noise = randn(rng, 32, 2, 2, 3)
    noise -= noise.mean((2, 3), keepdim=True)
    alike = noise / noise.square().mean((2, 3), keepdim=True).sqrt() * 3 + 5  # each image: mean 5, deviation 3
    yield loading(rng, " alike", [size / 32 for size in sizes(rng)], alike)
    yield loading(rng, " untrained", [0.0, 0.5, 0.5], photos(rng, 32))
    yield loading(rng, " two", [0.5, 0.5], photos(rng, 32))


def loading(rng, name, fractions, images, change=None):
    """`change` is what the training transform does: times the first, plus the second."""
    given = {"fractions": fractions, "images": images, "change": change, "seed": whole(rng, 0, 2**31)}
    return Case("loaders" + name, of="make_loaders", **given)


def seeded(number):
    return torch.Generator().manual_seed(number)


def run(kata, case):
    before = torch.random.get_rng_state()
    seen = {
        "split_indices": run_dealt if hasattr(case, "pair") else run_split,
        "ImageDataset": run_dataset,
        "channel_stats": run_stats,
        "random_flip": run_flips if hasattr(case, "chances") else run_flip,
        "make_loaders": run_loaders,
    }[case.of](kata, case)
    return {**seen, "global stream": Pairs(before, torch.random.get_rng_state())}


def split(kata, n, fractions, generator):
    return [torch.tensor([int(i) for i in part]) for part in kata.split_indices(n, fractions, generator=generator)]


def run_split(kata, case):
    runs = [
        [split(kata, n, fractions, generator) for n, fractions in case.questions]
        for generator in map(seeded, (case.seed, case.seed, case.seed + 1))
    ]
    first, again, other = (torch.cat([part for parts in run for part in parts]) for run in runs)
    return {
        # Thirds of 100 may be rounded in any way.
        "sizes": [[len(part) for part in parts] for parts in runs[0]] if case.name == "split" else None,
        "together": [torch.cat(parts).sort().values for parts in runs[0]],
        "repeats": Pairs(first, again),
        "another seed": Pairs(first, other),
    }


def run_dealt(kata, case):
    """In which of the nine pairs of parts two samples end up, again and again."""
    generator, draws = seeded(case.seed), []
    for _ in range(SPLITS):
        parts = [set(part.tolist()) for part in split(kata, 32, case.fractions, generator)]
        where = [next(number for number, part in enumerate(parts) if index in part) for index in case.pair]
        draws.append(3 * where[0] + where[1])
    return {"parts": Draws(torch.tensor(draws), 9)}


def run_dataset(kata, case):
    images, calls = case.images.clone(), []
    transform = {"counting": lambda x: calls.append(0) or x + len(calls), "in place": lambda x: x.mul_(2)}
    dataset = kata.ImageDataset(images, case.labels, transform.get(case.name.removeprefix("dataset ")))
    made = len(calls)
    image, label = dataset[case.index]
    again = dataset[case.index][0].clone()
    seen = {"image": image.clone(), "label": int(label), "again": again, "calls": [made, len(calls)]}
    image.zero_()
    return {**seen, "length": len(dataset), "stored": images}


def run_stats(kata, case):
    mean, std = kata.channel_stats([(image, 0) for image in case.images])
    # The deviation of a constant is 0, or what rounding makes of it.
    return {"mean": mean, "std": std.round(decimals=5) if case.name == "stats constant" else std}


def run_flip(kata, case):
    image = case.image.clone()
    return {"image": kata.random_flip(image, case.p, generator=seeded(1)), "input after": image}


def run_flips(kata, case):
    image, generator = torch.tensor([[[0, 1]]]), seeded(case.seed)

    def flipped(p, generator):
        return kata.random_flip(image, p, generator=generator)[0, 0, 0]

    first, again = (torch.stack([flipped(case.chances[0], g) for g in map(seeded, range(60))]) for _ in range(2))
    return {
        "flips": [Draws(torch.stack([flipped(p, generator) for _ in range(FLIPS)]), 2) for p in case.chances],
        "repeats": Pairs(first, again),
    }


class FirstCome:
    """Whichever index is read first is image 0, the next one image 1. Its number is its label."""

    def __init__(self, images):
        self.images, self.numbers = images, {}

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        if not 0 <= int(index) < len(self):
            raise IndexError(index)
        number = self.numbers.setdefault(int(index), len(self.numbers))
        return self.images[number].clone(), number


class InPlace(FirstCome):
    """An ordinary dataset, whose labels are its indices."""

    def __init__(self, images):
        super().__init__(images)
        self.numbers = {index: index for index in range(len(images))}


def everything(loader):
    images, labels = zip(*[(images, torch.as_tensor(labels)) for images, labels in loader], strict=True)
    return torch.cat(images), torch.cat(labels)


def shown(images):
    """Narrow floats are moved away from 0, where rounding would be compared with next to nothing."""
    return [str(images.dtype), images if images.dtype == torch.float64 else images.float() + 16]


def run_loaders(kata, case):
    scale, shift = case.change or (1.0, 0.0)
    options = {"train_transform": lambda x: x * scale + shift} if case.change else {}
    kind = InPlace if case.name == "loaders alike" else FirstCome
    orders, passes = [], []
    for seed in (case.seed, case.seed, case.seed + 1):
        data = kind(case.images)
        loaders = kata.make_loaders(data, case.fractions, 4, generator=seeded(seed), **options)
        first = [everything(loader) for loader in loaders]
        indices = {number: index for index, number in data.numbers.items()}
        orders.append([torch.tensor([indices[label] for label in labels.tolist()]) for _, labels in first])
        passes = passes or [first, [everything(loader) for loader in loaders], loaders]
    seen = {
        "repeats": [Pairs(a, b) for a, b in zip(*orders[:2], strict=True)],
        "another seed": Pairs(orders[0][0].sort().values, orders[2][0].sort().values),
        "new order": Pairs(passes[0][0][1], passes[1][0][1]),
        "batches": [[len(labels) for _, labels in loader] for loader in passes[2]],
    }
    if kind is InPlace:  # whose parts are anyone's
        images, labels = (torch.cat(column) for column in zip(*passes[0], strict=True))
        return seen | {"labels": labels.sort().values, "images": shown(images[labels.argsort()])}
    for number, name in enumerate(("training", "validation", "test")):
        for images, labels in (passes[0][number], passes[1][number]):
            order = labels.argsort() if name == "training" else slice(None)
            seen.setdefault(name, []).append([labels[order], *shown(images[order])])
    return seen
