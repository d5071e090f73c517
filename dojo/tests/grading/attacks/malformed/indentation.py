"""A body that is not indented.

reason: IndentationError
policy: cannot read this: expected an indented block
"""


def build(folder):
    (folder / "katas" / "noise_schedules.py").write_text("def linear_betas(steps):\nreturn 0\n")
