"""Looks into the temporary folders for the files of other gradings.

reason: PermissionError
"""

import os

if os.listdir("/tmp") is not None:
    raise RuntimeError("GOT IT: the list of temporary files")
