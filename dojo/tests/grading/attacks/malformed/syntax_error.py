"""A bracket that is never closed.

reason: SyntaxError
policy: cannot read this: '(' was never closed.
"""


def build(folder):
    (folder / "katas" / "noise_schedules.py").write_text("def linear_betas(steps:\n    return 0\n")
