"""Compiled code of the reference beside a wrong source, with the right time and size.

reason: there is no linear_betas in the file
"""

import os
import py_compile

from dojo.core.paths import find_checkout


def build(folder):
    path = folder / "katas" / "noise_schedules.py"
    path.write_bytes(find_checkout().reference("noise_schedules").read_bytes())
    py_compile.compile(str(path))
    times, size = path.stat(), path.stat().st_size
    path.write_bytes(b"x = 1\n" + b"#" * 60 + b"\n")
    with open(path, "ab") as file:
        while (left := size - path.stat().st_size) > 0:
            file.write(b"#" * min(80, left - 1) + b"\n")
            file.flush()
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
