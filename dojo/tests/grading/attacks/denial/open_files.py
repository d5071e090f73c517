"""Opens files until there are no more to be had.

reason: it raised OSError
"""

kept = []


def attack(*_, **__):
    for _ in range(2000):
        kept.append(open("/dev/null"))
    raise SystemError("GOT IT: two thousand open files")


linear_betas = cosine_betas = alphas_cumprod = snr = attack
