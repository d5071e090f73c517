"""Python of the last century.

reason: SyntaxError
policy: cannot read this: Missing parentheses in call to 'print'
"""


def build(folder):
    (folder / "katas" / "noise_schedules.py").write_text('print "hello"\n')
