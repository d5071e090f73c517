"""Opens a TCP connection (to itself, so that the test needs no network).

reason: PermissionError
policy: `socket` may not be imported: there is no network
"""

import socket

server, friend = socket.socket(), socket.socket()
server.bind(("127.0.0.1", 0))
server.listen()
friend.connect(server.getsockname())
raise RuntimeError("GOT IT: a connection")
