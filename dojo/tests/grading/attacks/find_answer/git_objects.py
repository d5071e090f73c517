"""Looks into the repository's history.

reason: PermissionError
"""

import os

import torch

dojo = vars(torch)["sys"].modules["dojo"]
os.open(os.path.join(os.path.dirname(os.path.dirname(dojo.__file__)), ".git"), os.O_RDONLY)  # a file in a worktree
raise RuntimeError("GOT IT: the history")
