"""What can be seen of noise schedules: their numbers at many lengths, digits, dtypes, the arguments afterwards."""

import torch

from dojo.probes import Case


def cases(rng):
    for inputs in ((5, 0.1, 0.5), (1000,), (10,), (1,), (4, 0.3, 0.1), (0,), (3, 0.1, 1.5), (3, 0.0, 0.5)):
        yield Case(f"linear_betas{inputs}", of="linear_betas", inputs=inputs)
    for inputs in ((3, 0.0), (2, 0.5), (1000,), (20, 0.008, 0.3), (20, 0.1, 1.0), (1,), (0,), (3, -0.5), (3, 0.1, 1.5)):
        yield Case(f"cosine_betas{inputs}", of="cosine_betas", inputs=inputs)
    betas = torch.rand(6, generator=rng, dtype=torch.float64) * 0.5 + 0.1
    small = torch.full((500,), 2e-8)
    for name, values in {"few": betas, "view": betas[::2], "float32": betas.float(), "small": small}.items():
        yield Case(f"alphas_cumprod {name}", of="alphas_cumprod", inputs=(values,))
    yield Case("alphas_cumprod half", of="alphas_cumprod", inputs=(torch.full((300,), 1e-3).bfloat16(),))
    abar = (1 - betas).cumprod(0)
    limits = torch.tensor([1.0, 0.5, 0.0], dtype=torch.float64)
    for name, values in {"few": abar, "view": abar[::2], "float32": abar.float(), "limits": limits}.items():
        yield Case(f"snr {name}", of="snr", inputs=(values,))


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
        "infinite": infinite,
        "only float32 digits": bool((out == out.float()).all()),
        "after": inputs,
    }
