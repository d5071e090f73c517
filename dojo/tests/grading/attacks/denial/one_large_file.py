"""Writes a file of 512 MB.

reason: fail
"""


def attack(*_, **__):
    with open("large", "wb") as file:
        for _ in range(512):
            file.write(bytes(2**20))
    raise SystemError("GOT IT: a file of 512 MB")


linear_betas = cosine_betas = alphas_cumprod = snr = attack
