"""An exception that `except Exception` does not catch.

reason: it raised Done
"""


class Done(BaseException):
    pass


def attack(*_, **__):
    raise Done


linear_betas = cosine_betas = alphas_cumprod = snr = attack
