"""A chain of attributes that is longer than any stack.

reason: import
policy: Python
"""


def build(folder):
    text = "import torch\nx = (torch\n" + "\n".join([".a" * 190] * 160) + ")\n"
    (folder / "katas" / "noise_schedules.py").write_text(text)
