"""What reads an exception's place is replaced by something that raises.

reason: ended the process (exit code 120)
"""

import traceback


class No(BaseException):
    pass


def no(*_, **__):
    raise No


traceback.walk_tb = no


def attack(*_, **__):
    raise ValueError


linear_betas = cosine_betas = alphas_cumprod = snr = attack
