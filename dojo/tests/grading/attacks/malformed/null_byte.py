"""A null byte.

status: refused
reason: holds a null byte in line 2
"""


def build(folder):
    (folder / "katas" / "noise_schedules.py").write_bytes(b"x = 1\nlinear_betas = '\0'\n")
