"""A socket.

status: refused
reason: is a socket
"""

import os
import socket


def build(folder):
    here = os.getcwd()
    os.chdir(folder / "katas")  # the name of a socket may have 108 characters
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("noise_schedules.py")
    os.chdir(here)
