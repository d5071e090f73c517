"""Leaves a note in shared memory, where a friend may read it.

reason: PermissionError
"""

open("/dev/shm/kata-planted", "w").close()
raise RuntimeError("GOT IT: shared memory")
