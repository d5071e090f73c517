"""A number with sixty thousand signs before it.

reason: MemoryError
policy: This is nested too deeply for Python to read
"""


def build(folder):
    text = "x = (" + "\n".join(["-" * 390] * 160) + " 1)\n"
    (folder / "katas" / "noise_schedules.py").write_text(text)
