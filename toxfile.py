"""Every tox environment but `peers` and `bench` runs in the installation that tox itself is in: torch alone is a gigabyte, and one is enough."""

import os
import sys

os.environ["KATA_PYTHON"] = sys.executable
os.environ["KATA_BIN"] = os.path.dirname(sys.executable)
