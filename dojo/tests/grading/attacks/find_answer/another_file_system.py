"""Mounts, changes the root, and enters other namespaces, to see what is hidden.

reason: Error
"""

import os

import torch

ctypes = vars(torch)["sys"].modules["ctypes"]
libc = ctypes.CDLL(None, use_errno=True)
for way, arguments in (("unshare", [0x10000000]), ("chroot", [b"."]), ("mount", [b"none", b".", b"tmpfs", 0, None])):
    if getattr(libc, way)(*arguments) == 0:
        raise RuntimeError("GOT IT: " + way)
raise PermissionError(os.strerror(ctypes.get_errno()))
