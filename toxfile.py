"""Every tox environment uses the installation that tox itself is in: torch alone is a gigabyte, and one is enough."""

import os
import sys
import sysconfig

from dojo.core.cores import usable_cores

os.environ["KATA_PYTHON"] = sys.executable
os.environ["KATA_BIN"] = os.path.dirname(sys.executable)
# One process more than there are cores: tests wait for terminals and sandboxes. Each holds torch, so four at most.
os.environ["KATA_PROCESSES"] = str(min(4, usable_cores() + 1))
os.environ["KATA_PACKAGES"] = os.pathsep.join({sysconfig.get_path("purelib"): 1, sysconfig.get_path("platlib"): 1})
