"""What only compiling finds.

reason: SyntaxError
policy: line 1: cannot read this: 'return' outside function.
"""


def build(folder):
    (folder / "katas" / "noise_schedules.py").write_text("return 10\n")
