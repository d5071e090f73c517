"""The same, in words that the policy lets through.

reason: PermissionError
"""

import torch

subprocess = vars(torch)["sys"].modules["subprocess"]
subprocess.run(["/bin/true"], check=True)
raise RuntimeError("GOT IT: a program")
