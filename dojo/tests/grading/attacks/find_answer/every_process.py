"""Lists all processes of the machine.

reason: PermissionError
"""

import os

if len([name for name in os.listdir("/proc") if name.isdigit()]) > 4:
    raise RuntimeError("GOT IT: the list of processes")
raise PermissionError("only its own")
