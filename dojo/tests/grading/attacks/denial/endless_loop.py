"""Never returns.

reason: it was still running
"""


def attack(*_, **__):
    while True:
        pass


linear_betas = cosine_betas = alphas_cumprod = snr = attack
