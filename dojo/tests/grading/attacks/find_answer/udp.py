"""Sends a packet that asks for no answer.

reason: Error
"""

import torch

socket = vars(torch)["importlib"].import_module("socket")
friend = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
friend.sendto(b"which answer?", ("127.0.0.1", 9))
raise RuntimeError("GOT IT: a packet")
