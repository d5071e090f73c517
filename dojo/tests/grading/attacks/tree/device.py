"""An endless file.

status: refused
reason: is a device
needs: root
"""

import os
import stat


def build(folder):
    os.mknod(folder / "katas" / "noise_schedules.py", 0o644 | stat.S_IFCHR, os.makedev(1, 5))
