"""What Ctrl-C raises, at import.

reason: the file cannot be imported: KeyboardInterrupt
"""

raise KeyboardInterrupt
