"""Compiles C of its own.

reason: cannot be imported
"""

import torch

utility = vars(torch)["importlib"].import_module("torch.utils.cpp_extension")
utility.load_inline("planted", "int f() { return 0; }", functions=["f"])
raise RuntimeError("GOT IT: a compiler")
