"""One call in C that no Python signal handler can interrupt.

reason: it was still running
"""


def attack(*_, **__):
    return sum(range(10**12))


linear_betas = cosine_betas = alphas_cumprod = snr = attack
