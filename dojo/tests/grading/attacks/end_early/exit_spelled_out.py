"""The same without disguise, which the policy sees.

reason: it ended the process (exit code 0)
policy: `os._exit` is not for answers
"""

import os


def attack(*_, **__):
    os._exit(0)


linear_betas = cosine_betas = alphas_cumprod = snr = attack
