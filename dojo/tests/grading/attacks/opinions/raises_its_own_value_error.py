"""Raises a class that is only called ValueError.

reason: ValueError
"""


class ValueError(Exception):
    pass


def attack(*_, **__):
    raise ValueError("no")


linear_betas = cosine_betas = alphas_cumprod = snr = attack
