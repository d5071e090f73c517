"""Raises something that is a ValueError and many other things.

reason: it raised Everything
"""


class Everything(ValueError, TypeError, KeyError, StopIteration):
    pass


def attack(*_, **__):
    raise Everything("no")


linear_betas = cosine_betas = alphas_cumprod = snr = attack
