"""How fast, beside the naive way and diffusers: `pytest --benchmark-only --katas=solutions tests/ddpm`. No verdict on seconds."""

from functools import partial

import pytest
import torch

from dojo.testing import expect_close, expect_equal
from dojo.testing.gpu import compare, copy_bandwidth, gpu_benchmark, installed, report, seconds_of
from katas.ddpm import p_sample, p_sample_loop, q_sample

STEPS, IMAGES = 1000, (16, 3, 64, 64)
BETAS = torch.linspace(1e-4, 0.02, STEPS)
ABAR = (1 - BETAS.double()).cumprod(0).float()


def image_by_image(x0, t, noise, abar):
    """The naive way: look up and mix one image at a time."""
    rows = zip(x0, t.tolist(), noise, strict=True)
    return torch.stack([abar[i].item() ** 0.5 * x + (1 - abar[i].item()) ** 0.5 * e for x, i, e in rows])


def product_for_each_image(eps, x_t, t, betas):
    """The naive step: every image multiplies its own way through the schedule."""
    rows = []
    for x, e, i in zip(x_t, eps, t.tolist(), strict=True):
        abar, before = (1 - betas[: i + 1]).prod(), (1 - betas[:i]).prod()
        mean = (x - betas[i] / (1 - abar).sqrt() * e) / (1 - betas[i]).sqrt()
        rows.append(mean + (betas[i] * (1 - before) / (1 - abar)).sqrt() * torch.randn_like(x) * (i > 0))
    return torch.stack(rows)


def test_speed_of_q_sample_on_cpu(benchmark, capsys, rng):
    """Yours, the naive way and the library take turns; the printed ratios are what to look at."""
    x0, noise = (torch.randn(IMAGES, generator=rng) for _ in range(2))
    t = torch.randint(STEPS, IMAGES[:1], generator=rng)
    ways = {
        "yours": partial(q_sample, x0, t, noise, ABAR),
        "naive (image by image)": partial(image_by_image, x0, t, noise, ABAR),
    }
    if installed("diffusers"):
        from diffusers import DDPMScheduler

        ways["diffusers"] = partial(DDPMScheduler(trained_betas=BETAS.numpy()).add_noise, x0, noise, t)
    yours, *others = (way() for way in ways.values())
    for other in others:
        expect_close(yours, other, what="q_sample", rtol=1e-3, atol=1e-3)  # float32 schedules differ by 4e-4
    compare(benchmark, capsys, ways)


def test_speed_of_a_step_on_cpu(benchmark, capsys, rng):
    """With a model that costs nothing: what is left is what the step itself adds. diffusers' is for one t only."""
    eps, x = (torch.randn(IMAGES, generator=rng) for _ in range(2))
    t, last = torch.full(IMAGES[:1], STEPS // 2), torch.zeros(IMAGES[0], dtype=torch.int64)
    ways = {
        "yours": partial(p_sample, lambda *_: eps, x, t, BETAS),
        "naive (a product for each image)": partial(product_for_each_image, eps, x, t, BETAS),
    }
    if installed("diffusers"):
        from diffusers import DDPMScheduler

        ways["diffusers"] = partial(
            DDPMScheduler(trained_betas=BETAS.numpy(), clip_sample=False).step, eps, STEPS // 2, x
        )
    yours, naive = p_sample(lambda *_: eps, x, last, BETAS), product_for_each_image(eps, x, last, BETAS)
    expect_close(yours, naive, what="the step at t=0, which has no noise", rtol=1e-3, atol=1e-3)
    compare(benchmark, capsys, ways)


@pytest.mark.gpu
def test_everything_stays_on_the_gpu(rng):
    """Noise, masks and timesteps are made where the images are, and the generator there is the one that counts."""
    x, noise = (torch.randn(IMAGES, generator=rng) for _ in range(2))
    t = torch.randint(STEPS, IMAGES[:1], generator=rng)
    got = q_sample(*(tensor.cuda() for tensor in (x, t, noise, ABAR)))
    expect_close(got.cpu(), q_sample(x, t, noise, ABAR), what="q_sample on the GPU")
    expect_equal(got.device.type, "cuda", what="the device of q_sample's result")
    seen = []

    def model(x, t):
        seen.extend([x.device.type, t.device.type])
        return 0.1 * x

    def samples():
        generator = torch.Generator("cuda").manual_seed(1)
        return p_sample_loop(model, IMAGES, BETAS[:5].cuda(), generator=generator)

    first = samples()
    expect_equal({*seen, first.device.type}, {"cuda"}, what="the devices of the loop's x, t and samples")
    expect_equal(samples(), first, what="the samples of an equally seeded CUDA generator")


@pytest.mark.gpu
@pytest.mark.benchmark(group="DDPM q_sample on CUDA, [64, 3, 512, 512] bfloat16")
def test_speed_of_q_sample_on_gpu(benchmark, capsys):
    """The floor is reading both images and writing one: reported as a fraction of the copy bandwidth measured just before."""
    ceiling, abar = copy_bandwidth(), ABAR.cuda()

    def inputs():
        x0, noise = (torch.randn(64, 3, 512, 512, device="cuda", dtype=torch.bfloat16) for _ in range(2))
        return x0, torch.randint(STEPS, (64,), device="cuda"), noise, abar

    (x0, t, noise, _), got = gpu_benchmark(benchmark, q_sample, inputs)
    want = q_sample(x0.double(), t, noise.double(), abar.double())
    expect_close(got.double(), want, what="q_sample in bfloat16", rtol=2e-2, atol=4e-2)  # 8 bits, three roundings
    achieved = 3 * x0.nbytes / seconds_of(benchmark)
    report(
        benchmark, capsys,
        f"{achieved / 1e9:.0f} GB/s, {achieved / ceiling:.0%} of this card's {ceiling / 1e9:.0f} GB/s",
        achieved=achieved, fraction=achieved / ceiling,
    )  # fmt: skip


@pytest.mark.gpu
@pytest.mark.benchmark(group="DDPM step on CUDA, [16, 3, 64, 64] float32, a model that costs nothing")
def test_speed_of_a_step_on_gpu(benchmark, capsys):
    """A small image: the time is kernel launches, not bandwidth. A thousand of these are what sampling adds to the model."""
    betas = BETAS.cuda()

    def step(eps, x, t):
        return p_sample(lambda *_: eps, x, t, betas)

    def inputs():
        eps, x = (torch.randn(IMAGES, device="cuda") for _ in range(2))
        return eps, x, torch.randint(STEPS, IMAGES[:1], device="cuda")

    gpu_benchmark(benchmark, step, inputs)
    eps, x, t = inputs()
    last = torch.zeros_like(t)
    got, want = step(eps, x, last), product_for_each_image(eps, x, last, betas)
    expect_close(got, want, what="the step at t=0, which has no noise", rtol=1e-3, atol=1e-3)
    seconds = seconds_of(benchmark)
    report(
        benchmark, capsys, f"{seconds * 1e6:.0f} us a step, {seconds * STEPS:.2f} s for {STEPS} steps", seconds=seconds
    )
