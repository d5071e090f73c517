"""Attaches to the process that forked it, as a debugger does.

reason: Error
"""

import os

import torch

ctypes = vars(torch)["sys"].modules["ctypes"]
libc = ctypes.CDLL(None, use_errno=True)
if libc.ptrace(0x4206, os.getppid(), None, None) == 0:  # PTRACE_SEIZE: does not stop it
    libc.ptrace(17, os.getppid(), None, None)
    raise RuntimeError("GOT IT: traces the process that forked it")
raise PermissionError(os.strerror(ctypes.get_errno()))
