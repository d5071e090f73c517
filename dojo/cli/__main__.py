"""Runs the `kata` command as `python -m dojo.cli`."""

import sys
from pathlib import Path

from dojo.cli.main import main

main(prog_name=Path(sys.argv[0]).name)
