"""A name with a Cyrillic letter, and one with an invisible mark.

status: not_attempted
reason: There is no katas/noise_schedules.py
"""


def build(folder):
    (folder / "katas" / "n\N{CYRILLIC SMALL LETTER O}ise_schedules.py").write_text("x = 1\n")
    (folder / "katas" / "\N{ZERO WIDTH SPACE}noise_schedules.py").write_text("x = 1\n")
