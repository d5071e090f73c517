"""Takes the computing time from the process that forked it.

reason: it raised PermissionError
"""

import os


def attack(*_, **__):
    os.setpriority(os.PRIO_PROCESS, os.getppid(), 1)
    raise SystemError("GOT IT: the priority of the process that forked it")


linear_betas = cosine_betas = alphas_cumprod = snr = attack
