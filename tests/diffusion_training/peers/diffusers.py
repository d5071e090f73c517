"""diffusers' get_timestep_embedding, DDPMScheduler.add_noise and EMAModel. The embedding has sines first unless it is
flipped, and divides by half - 1 unless downscale_freq_shift is 0. add_noise rounds abar to the images' dtype first
(1 - 0.9999 is 0 in bfloat16), so it is handed float64. EMAModel warms its decay up, which min_decay overrides, keeps
its averages apart from any module, knows no buffers, and copies parameters that need no gradient."""

import torch
from diffusers import DDPMScheduler
from diffusers.models.embeddings import get_timestep_embedding
from diffusers.training_utils import EMAModel


def timestep_embedding(t, dim, max_period=10000):
    if dim < 2:
        raise ValueError("dim must be at least 2")
    if t.dim() != 1:
        raise ValueError("t must have shape [batch]")
    return get_timestep_embedding(t, dim, flip_sin_to_cos=True, downscale_freq_shift=0, max_period=max_period)


def ddpm_loss(eps_model, x0, alphas_cumprod, *, generator=None):
    scheduler = DDPMScheduler(len(alphas_cumprod))
    scheduler.alphas_cumprod = alphas_cumprod  # its own are float32
    t = torch.randint(len(alphas_cumprod), x0.shape[:1], generator=generator, device=x0.device)
    noise = torch.randn(x0.shape, generator=generator, dtype=x0.dtype, device=x0.device)
    x_t = scheduler.add_noise(x0.double(), noise.double(), t).to(x0.dtype)
    return torch.nn.functional.mse_loss(eps_model(x_t, t), noise)


def ema_update(ema, model, decay):
    if not 0 <= decay <= 1:
        raise ValueError("decay must be from 0 to 1")
    averages, parameters = list(ema.parameters()), list(model.parameters())
    buffers = list(zip(ema.buffers(), model.buffers(), strict=True))
    if len(averages) != len(parameters):
        raise ValueError("different modules")
    shadow = EMAModel(averages, decay=decay, min_decay=decay)
    shadow.optimization_step = 1  # the first step would only copy
    moving = [p.to(a.dtype).detach() for a, p in zip(averages, parameters, strict=True)]
    for parameter in moving:  # diffusers copies what is frozen; the kata copies what cannot be averaged
        parameter.requires_grad_(parameter.is_floating_point())
    shadow.step(moving)
    shadow.copy_to(averages)
    with torch.no_grad():
        for copied, buffer in buffers:
            copied.copy_(buffer)
