"""A pattern that takes exponential time, at import.

reason: while it was imported it was still running
"""

import re

re.match(r"(a+)+$", "a" * 40 + "b")
