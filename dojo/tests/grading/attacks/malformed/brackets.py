"""Sixty thousand brackets.

reason: cannot be imported
policy: cannot read this
"""


def build(folder):
    text = "x = " + "\n".join(["(" * 300] * 100) + "\n" + "\n".join([")" * 300] * 100) + "\n"
    (folder / "katas" / "noise_schedules.py").write_text(text)
