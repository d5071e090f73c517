"""Says that the memory is used up.

reason: it ran out of memory
"""


def attack(*_, **__):
    raise MemoryError


linear_betas = cosine_betas = alphas_cumprod = snr = attack
