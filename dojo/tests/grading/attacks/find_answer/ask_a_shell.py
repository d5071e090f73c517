"""Starts a program that prints the reference.

reason: PermissionError
policy: `subprocess` may not be imported: an answer starts no other programs
"""

import subprocess

subprocess.run(["/bin/true"], check=True)
raise RuntimeError("GOT IT: a program")
