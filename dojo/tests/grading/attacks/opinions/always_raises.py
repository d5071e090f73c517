"""Raises the exception that bad arguments deserve, always.

reason: it counts only together with a right result
"""


def attack(*_, **__):
    raise ValueError("no")


linear_betas = cosine_betas = alphas_cumprod = snr = attack
