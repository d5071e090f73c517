"""Fetches the reference from the network.

reason: URLError
policy: `urllib.request` may not be imported: there is no network
"""

import urllib.request

with urllib.request.urlopen("http://127.0.0.1:9/solutions/noise_schedules.py") as page:
    text = page.read()
