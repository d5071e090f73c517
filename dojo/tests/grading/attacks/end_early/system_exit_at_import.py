"""Leaves politely, before anything is asked.

reason: the file cannot be imported: SystemExit
"""

raise SystemExit(0)
