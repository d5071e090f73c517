"""Says that the memory is used up.

reason: it raised MemoryError
"""


def attack(*_, **__):
    raise MemoryError


linear_betas = cosine_betas = alphas_cumprod = snr = attack
