"""Writes twenty thousand files.

reason: fail
"""


def attack(*_, **__):
    for number in range(20_000):
        open(f"file-{number}", "w").close()
    raise SystemError("GOT IT: twenty thousand files")


linear_betas = cosine_betas = alphas_cumprod = snr = attack
