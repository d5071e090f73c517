"""process_vm_readv on the process that forked it.

reason: Error
"""

import os

import torch

ctypes = vars(torch)["sys"].modules["ctypes"]


class Piece(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("size", ctypes.c_size_t))


libc = ctypes.CDLL(None, use_errno=True)
place = ctypes.create_string_buffer(64)
here, there = Piece(ctypes.addressof(place), 64), Piece(id(Piece), 64)
if libc.process_vm_readv(os.getppid(), ctypes.byref(here), 1, ctypes.byref(there), 1, 0) == 64:
    raise RuntimeError("GOT IT: memory of the process that forked it")
raise PermissionError(os.strerror(ctypes.get_errno()))
