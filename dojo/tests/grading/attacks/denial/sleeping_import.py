"""Sleeps while it is imported.

reason: while it was imported it was still running
"""

import time

time.sleep(3600)
