"""What can be seen of a data pipeline. Splits are free, so loaders are described by what their images agree with."""

import torch

from dojo.probes import Case, Draws
from dojo.testing import randint, randn

SHARES = (0.5, 0.3, 0.2)
THIRDS = (1 / 3, 1 / 3, 1 / 3)


def cases(rng):
    photos = (randn(rng, 20, 2, 2, 3) + 2 * randn(rng, 20, 1, 1, 1)) * torch.tensor([1.0, 3.0]).view(2, 1, 1) + 4
    for name, n, fractions in (("", 20, SHARES), (" thirds", 100, THIRDS), (" short", 10, (0.5, 0.3, 0.1))):
        yield Case("split" + name, of="split_indices", n=n, fractions=fractions)
    yield Case("split negative", of="split_indices", n=10, fractions=(0.8, 0.3, -0.1))
    for name in ("plain", "counting", "in place", "too few labels"):
        yield Case(f"dataset {name}", of="ImageDataset", images=photos[:4])
    yield Case("stats", of="channel_stats", images=list(photos))
    yield Case("stats sizes", of="channel_stats", images=[randn(rng, 3, h, 2) + h for h in (1, 3, 7)])
    yield Case("stats far", of="channel_stats", images=list((1000 + 0.1 * randn(rng, 9, 1, 8, 8)).float()))
    yield Case("stats bytes", of="channel_stats", images=list(randint(rng, 0, 256, 5, 2, 9, 9).byte()))
    yield Case("stats constant", of="channel_stats", images=[(torch.arange(40.0).double() / 7).view(-1, 1, 1)] * 3)
    yield Case("stats empty", of="channel_stats", images=[])
    for p in (0.0, 0.2, 0.7, 1.0, -0.1, 1.5):
        yield Case(f"flip p={p}", of="random_flip", image=randn(rng, 2, 3, 4), p=p)
    yield Case("loaders", of="make_loaders", images=photos, fractions=SHARES, transform=lambda x: x * 2 + 9)
    constant = photos.clone()
    constant[:, 1] = 0.5
    yield Case("loaders constant", of="make_loaders", images=constant, fractions=SHARES, transform=None)
    yield Case("loaders float", of="make_loaders", images=photos.float(), fractions=SHARES, transform=None)
    yield Case("loaders bytes", of="make_loaders", images=(photos * 5 + 99).byte(), fractions=SHARES, transform=None)
    yield Case("loaders untrained", of="make_loaders", images=photos, fractions=(0.0, 0.5, 0.5), transform=None)
    yield Case("loaders two", of="make_loaders", images=photos, fractions=(0.5, 0.5), transform=None)


def seeded(number):
    return torch.Generator().manual_seed(number)


def run(kata, case):
    before = torch.random.get_rng_state()
    seen = {
        "split_indices": run_split,
        "ImageDataset": run_dataset,
        "channel_stats": run_stats,
        "random_flip": run_flip,
        "make_loaders": run_loaders,
    }[case.of](kata, case)
    return {**seen, "global stream untouched": torch.equal(before, torch.random.get_rng_state())}


def run_split(kata, case):
    first, again, other = (
        [[int(i) for i in part] for part in kata.split_indices(case.n, case.fractions, generator=seeded(s))]
        for s in (1, 1, 2)
    )
    return {
        "sizes": [len(part) for part in first] if case.name == "split" else None,
        "together": torch.tensor(sorted(i for part in first for i in part)),
        "repeats": first == again,
        "differs": first != other,
    }


def run_dataset(kata, case):
    images, calls = case.images.clone(), []
    transform = {"counting": lambda x: calls.append(0) or x + len(calls), "in place": lambda x: x.mul_(2)}
    labels = torch.arange(3 if case.name.endswith("labels") else 4)
    dataset = kata.ImageDataset(images, labels, transform.get(case.name.removeprefix("dataset ")))
    made = len(calls)
    image, label = dataset[2]
    seen = {"image": image.clone(), "label": int(label), "again": dataset[2][0].clone(), "calls": [made, len(calls)]}
    image.zero_()
    return {**seen, "length": len(dataset), "stored": images}


def run_stats(kata, case):
    mean, std = kata.channel_stats([(image, 0) for image in case.images])
    return {"mean": mean, "std": std if case.name != "stats constant" else bool((std < 1e-6).all())}


def run_flip(kata, case):
    image, chance = case.image.clone(), torch.tensor([[[0, 1]]])
    out = kata.random_flip(image, case.p, generator=seeded(1))
    sure = case.p in (0.0, 1.0)
    generator, twin = seeded(2), seeded(2)
    flips = torch.stack([kata.random_flip(chance, case.p, generator=generator)[0, 0, 0] for _ in range(300)])
    twins = torch.stack([kata.random_flip(chance, case.p, generator=twin)[0, 0, 0] for _ in range(300)])
    return {
        "image": out if sure else None,
        "input after": image,
        "flips": Draws(flips, 2),
        "repeats": torch.equal(flips, twins),
    }


def everything(loader):
    images, labels = zip(*[(images, torch.as_tensor(labels)) for images, labels in loader], strict=True)
    return torch.cat(images), torch.cat(labels)


def normalised(images, by):
    std, mean = torch.std_mean(by.double(), dim=(0, 2, 3), correction=0, keepdim=True)
    return (images.double() - mean) / torch.where(std > 0, std, 1.0)


def run_loaders(kata, case):
    """For each part: which explanations fit its images, how its batches are cut, whether its order changes."""
    data = [(image, label) for label, image in enumerate(case.images)]
    loaders = kata.make_loaders(data, case.fractions, 4, generator=seeded(1), train_transform=case.transform)
    passes = [[everything(loader) for loader in loaders] for _ in range(2)]
    again = kata.make_loaders(data, case.fractions, 4, generator=seeded(1))
    orders = [(passes[0][n][1], everything(again[n])[1]) for n in range(3)]
    train = case.images[passes[0][0][1]]
    seen = {
        "repeats parts": all(torch.equal(a.sort().values, b.sort().values) for a, b in orders),
        "repeats orders": all(torch.equal(a, b) for a, b in orders),
    }
    change = case.transform or (lambda x: x)
    for name, loader, (got, which), (_, later) in zip("abc", loaders, *passes, strict=True):
        plain = case.images[which]
        fits = {
            "training": normalised(plain, train),
            "changed, training": normalised(change(plain), train),
            "changed, changed training": normalised(change(plain), change(train)),
            "plain, changed training": normalised(plain, change(train)),
            "training, changed": change(normalised(plain, train)),
            "all": normalised(plain, case.images),
            "changed, all": normalised(change(plain), case.images),
            "own": normalised(plain, plain),
            "changed": change(plain).double(),
            "raw": plain.double(),
        }
        seen[name] = {
            "fits": [key for key, images in fits.items() if torch.allclose(got.double(), images, 1e-4, 1e-4)],
            "finite": bool(got.isfinite().all()),
            "dtype": str(got.dtype),
            "samples": len(which),
            "batches": [len(labels) for _, labels in loader],
            "same order": torch.equal(which, later),
        }
    return seen
