"""A repository whose configuration and hooks start programs, beside a wrong answer.

reason: there is no linear_betas in the file
"""


def build(folder):
    (folder / "katas" / "noise_schedules.py").write_text("x = 1\n")
    (folder / ".git" / "hooks").mkdir(parents=True)
    hook = folder / ".git" / "hooks" / "post-checkout"
    hook.write_text("#!/bin/sh\ntouch /tmp/kata-planted-hook\n")
    hook.chmod(0o755)
    (folder / ".git" / "config").write_text('[core]\n\tfsmonitor = "touch /tmp/kata-planted-hook"\n')
    (folder / ".gitattributes").write_text("*.py filter=planted\n")
