"""What the authors of katas import: checks, and in `cost`, `probes`, `bench` what else a kata may use."""

from dojo.testing.checks import *  # noqa: F403
from dojo.testing.checks import chi_square, cuda_missing  # noqa: F401
