"""Latin-1.

status: refused
reason: is not UTF-8: line 1 holds the byte 0xe9
"""


def build(folder):
    (folder / "katas" / "noise_schedules.py").write_bytes(b"# caf\xe9\n")
