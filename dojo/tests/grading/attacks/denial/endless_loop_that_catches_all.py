"""Never returns, and catches whatever would make it.

reason: it was still running
"""


def attack(*_, **__):
    while True:
        try:
            while True:
                pass
        except BaseException:
            continue


linear_betas = cosine_betas = alphas_cumprod = snr = attack
