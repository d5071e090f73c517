"""Never comes to be imported.

reason: while it was imported it was still running
"""

while True:
    pass
