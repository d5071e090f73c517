"""What only compiling finds.

reason: SyntaxError
policy: cannot read this: 'return' outside function.
"""


def build(folder):
    (folder / "katas" / "noise_schedules.py").write_text("return 10\n")
