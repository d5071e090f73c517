"""What can be seen of noise schedules: their numbers at many lengths, digits, dtypes, the arguments afterwards."""

import torch

from dojo.testing import randint
from dojo.testing.probes import Case, Pairs


def cases(rng):
    for name, steps, *ends in (
        ("linear_betas few", 5, uniform(rng, 0.05, 0.2), uniform(rng, 0.4, 0.6)),
        ("linear_betas falling", 4, uniform(rng, 0.3, 0.5), uniform(rng, 0.05, 0.2)),
        ("linear_betas one step", 1, uniform(rng, 0.1, 0.3), uniform(rng, 0.5, 0.9)),
        ("linear_betas by default", int(randint(rng, 900, 1000, 1))),
        ("linear_betas few by default", int(randint(rng, 6, 15, 1))),
        ("linear_betas one step by default", 1),
        ("linear_betas no steps", 0),
        ("linear_betas end of 1.5", 3, 0.1, 1.5),
        ("linear_betas start of 0", 3, 0.0, 0.5),
        ("cosine_betas without offset", int(randint(rng, 3, 50, 1)), 0.0),
        ("cosine_betas two", 2, uniform(rng, 0.3, 0.7)),
        ("cosine_betas by default", int(randint(rng, 900, 1100, 1))),
        ("cosine_betas clipped", int(randint(rng, 18, 23, 1)), 0.008, uniform(rng, 0.25, 0.4)),
        ("cosine_betas not clipped", int(randint(rng, 18, 23, 1)), uniform(rng, 0.05, 0.2), 1.0),
        ("cosine_betas one step", 1, uniform(rng, 0.05, 0.2), uniform(rng, 0.5, 0.9)),
        ("cosine_betas one step by default", 1),
        ("cosine_betas no steps", 0),
        ("cosine_betas offset of -0.5", 3, -0.5),
        ("cosine_betas max_beta of 1.5", 3, 0.1, 1.5),
    ):
        yield Case(name, of=name.split()[0], inputs=(steps, *ends))
    betas = torch.rand(6, generator=rng, dtype=torch.float64) * 0.5 + 0.1
    small = torch.full((1000,), uniform(rng, 1e-8, 2.9e-8))  # 1 - beta is 1 in float32
    half = torch.full((300,), uniform(rng, 5e-4, 1.8e-3)).bfloat16()
    for name, values in {"few": betas, "view": betas[::2], "float32": betas.float(), "small": small}.items():
        yield Case(f"alphas_cumprod {name}", of="alphas_cumprod", inputs=(values,))
    yield Case("alphas_cumprod half", of="alphas_cumprod", inputs=(half,))
    abar = (1 - betas).cumprod(0)
    limits = torch.tensor([1.0, 0.5, 0.0], dtype=torch.float64)
    for name, values in {"few": abar, "view": abar[::2], "float32": abar.float(), "limits": limits}.items():
        yield Case(f"snr {name}", of="snr", inputs=(values,))


def uniform(rng, low, high):
    return low + (high - low) * torch.rand((), generator=rng, dtype=torch.float64).item()


def run(kata, case):
    inputs = [value.clone() if isinstance(value, torch.Tensor) else value for value in case.inputs]
    out = getattr(kata, case.of)(*inputs)
    infinite = out.isinf()
    if case.of == "snr":
        out = torch.where(out > 1e6, 0, out)  # whatever kept it finite: one eps is as wrong as another
    relative = out.double().log() if case.of.endswith("betas") else out  # small betas show as well as large ones
    return {
        "dtype": str(out.dtype),
        "out": relative,
        "lost": (1 - out.double()).float(),
        "infinite": infinite,
        "digits beyond float32": Pairs(out, out.float().to(out.dtype)),
        "after": inputs,
    }
