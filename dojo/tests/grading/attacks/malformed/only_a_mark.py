"""A byte-order mark and nothing else.

status: refused
reason: is empty
"""


def build(folder):
    (folder / "katas" / "noise_schedules.py").write_bytes(b"\xef\xbb\xbf\r\n")
