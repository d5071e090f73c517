"""Files that Python runs or reads when it starts, beside a wrong answer.

reason: there is no linear_betas in the file
"""

TEXT = "open('/tmp/kata-planted-start', 'w')\n"


def build(folder):
    (folder / "katas" / "noise_schedules.py").write_text("x = 1\n")
    for name in ("sitecustomize.py", "usercustomize.py", "katas/sitecustomize.py", "x.pth", "python311._pth"):
        (folder / name).write_text(TEXT)
    (folder / "pyvenv.cfg").write_text("home = .\n")
