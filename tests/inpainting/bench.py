"""Ten steps with a model that costs nothing: what is left is what the sampler itself adds. The floor of a step is reading
x, the picture, the noise and the prediction, and writing x. diffusers' pipeline keeps one noise for all steps, and
shows the model pure noise first: pictures differ in the hole, so the known part is what is compared. Where diffusers is
faster, that is why: fresh noise at every step is the reference's largest cost. The alternative below does with one, too."""

from functools import partial

import torch

from dojo.testing import expect, expect_equal
from dojo.testing.bench import work

ALTERNATIVES = ("after_the_step_with_one_noise",)
STEPS, COUNT = 1000, 10
BETAS = torch.linspace(1e-4, 0.02, STEPS)


def model(x, t):
    return x


def diffusers_pipeline(x0, hole, timesteps):
    """The loop of its inpainting pipeline for a model with four channels, all in float32."""
    from diffusers import DDIMScheduler

    made = DDIMScheduler(trained_betas=BETAS.numpy(), clip_sample=False)
    made.set_timesteps(COUNT)
    mask = hole.float()

    def run():
        noise = torch.randn(x0.shape, device=x0.device)
        x = noise
        for t, then in zip(timesteps, [*timesteps[1:], None], strict=True):
            x = made.step(model(x, t), t, x).prev_sample
            known = x0 if then is None else made.add_noise(x0, noise, torch.tensor([then]))
            x = (1 - mask) * known + mask * x
        return x

    return run


def keeps_the_rest(x0, hole, results):
    kept = ~hole.expand(x0.shape)
    for name, made in results.items():
        expect_equal(made[kept], x0[kept], what=f"'{name}' outside the hole")
        expect(made.isfinite().all(), f"'{name}' should paint finite numbers.")


@work(
    batch=4,
    side=64,
    sweep={"batch": (1, 2, 8), "side": (32, 128)},
    grows={"batch": 1, "side": 2},
    tiny={"batch": 2, "side": 64},
)
def ten_steps(bench, batch, side):
    """Ten steps on latents with four channels."""
    x0, abar = bench.randn(batch, 4, side, side), (1 - BETAS).cumprod(0).to(bench.device)
    hole = torch.zeros(1, 1, side, side, dtype=torch.bool, device=bench.device)
    hole[..., side // 4 : side // 2, side // 4 : side // 2] = True
    timesteps = list(range(STEPS - STEPS // COUNT, -1, -STEPS // COUNT))
    bench.katas(lambda kata: partial(kata.inpaint, model, x0, hole, timesteps, abar))
    bench.peer("diffusers", lambda: diffusers_pipeline(x0, hole, timesteps))
    bench.check(partial(keeps_the_rest, x0, hole))
    bench.floor(bytes=COUNT * 5 * x0.nbytes)
