"""What an editor of another system saves.

status: refused
reason: is stored as UTF-16
"""


def build(folder):
    (folder / "katas" / "noise_schedules.py").write_bytes("x = 1\n".encode("utf-16"))
