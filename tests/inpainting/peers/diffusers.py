"""diffusers' DDIMScheduler, used as Stable Diffusion's inpainting pipeline does for a model with four channels: one noise,
the known latents put back after each step at the next timestep with add_noise. The grid is replaced by the given
timesteps, and the stride (num_train_timesteps // num_inference_steps) by each jump, as the scheduler knows no t_prev."""

import torch
from diffusers import DDIMScheduler


@torch.no_grad()
def inpaint(eps_model, x0, mask, timesteps, alphas_cumprod, *, generator=None):
    try:
        mask = mask.to(x0.dtype).expand(x0.shape)
    except RuntimeError as error:
        raise ValueError("the mask must broadcast to the pictures") from error
    made = DDIMScheduler(len(alphas_cumprod), clip_sample=False, set_alpha_to_one=True)
    made.alphas_cumprod = alphas_cumprod.double()  # its own are float32
    made.final_alpha_cumprod = torch.tensor(1.0, dtype=torch.float64)
    made.set_timesteps(len(timesteps), x0.device)
    made.timesteps = torch.tensor(timesteps, device=x0.device)

    noise = torch.randn(x0.shape, generator=generator, dtype=x0.dtype, device=x0.device)
    latents = noise * made.init_noise_sigma
    ahead = made.timesteps.tolist()
    while ahead:
        t = ahead.pop(0)
        eps = eps_model(latents, torch.full((len(x0),), t, device=x0.device))
        made.register_to_config(num_train_timesteps=t - (ahead[0] if ahead else -1))
        made.num_inference_steps = 1
        latents = made.step(eps.double(), t, latents.double()).prev_sample.to(x0.dtype)
        proper = x0
        if ahead:
            proper = made.add_noise(x0.double(), noise.double(), torch.tensor([ahead[0]])).to(x0.dtype)
        latents = (1 - mask) * proper + mask * latents
    return latents
