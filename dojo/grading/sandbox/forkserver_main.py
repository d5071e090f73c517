"""The program of the fork server: python -I -B forkserver_main.py DESCRIPTOR "preload"|"" SYS_PATH.

It is started by its path, and its sys.path is what the grader gives it: nothing is imported from the current folder.
"""

import json
import sys

if __name__ == "__main__":
    sys.path[:] = json.loads(sys.argv[3])
    from dojo.grading.sandbox.forkserver import main

    main(int(sys.argv[1]), preload_first=sys.argv[2] == "preload")
