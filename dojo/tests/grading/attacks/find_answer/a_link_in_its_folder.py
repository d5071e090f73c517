"""Makes a link in its own folder that leads to the reference, and reads that.

reason: PermissionError
"""

import os

import torch

dojo = vars(torch)["sys"].modules["dojo"]
os.symlink(os.path.join(os.path.dirname(os.path.dirname(dojo.__file__)), "solutions", "noise_schedules.py"), "mine.py")
text = open("mine.py").read()
raise RuntimeError("GOT IT: through a link")
