"""Raises the exception that bad arguments deserve, always.

reason: it could be guessed, and too little else is right
"""


def attack(*_, **__):
    raise ValueError("no")


linear_betas = cosine_betas = alphas_cumprod = snr = attack
