"""Calls itself until Python gives up.

reason: it raised RecursionError
"""


def attack(*_, **__):
    return attack()


linear_betas = cosine_betas = alphas_cumprod = snr = attack
