"""Nothing.

status: refused
reason: is empty
"""


def build(folder):
    (folder / "katas" / "noise_schedules.py").write_bytes(b"")
