"""Every tox environment uses the installation that tox itself is in: torch alone is a gigabyte, and one is enough."""

import os
import sys
import sysconfig

os.environ["KATA_PYTHON"] = sys.executable
os.environ["KATA_BIN"] = os.path.dirname(sys.executable)
os.environ["KATA_PACKAGES"] = os.pathsep.join({sysconfig.get_path("purelib"): 1, sysconfig.get_path("platlib"): 1})
