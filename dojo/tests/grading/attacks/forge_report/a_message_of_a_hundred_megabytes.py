"""An exception with a very long text.

reason: it
"""


def attack(*_, **__):
    raise ValueError("passed " * 20_000_000)


linear_betas = cosine_betas = alphas_cumprod = snr = attack
