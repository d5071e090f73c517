"""A file of a megabyte.

status: refused
reason: is larger than 64 kB
"""


def build(folder):
    (folder / "katas" / "noise_schedules.py").write_text("# padding\n" * 100_000)
