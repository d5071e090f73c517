"""Looks into the repository's history.

reason: PermissionError
"""

import os

import torch

dojo = vars(torch)["sys"].modules["dojo"]
os.listdir(os.path.join(os.path.dirname(os.path.dirname(dojo.__file__)), ".git"))
raise RuntimeError("GOT IT: the history")
