"""The same, in words that the policy lets through.

reason: PermissionError
"""

import torch

socket = vars(torch)["importlib"].import_module("socket")
server, friend = socket.socket(), socket.socket()
server.bind(("127.0.0.1", 0))
server.listen()
friend.connect(server.getsockname())
raise RuntimeError("GOT IT: a connection")
