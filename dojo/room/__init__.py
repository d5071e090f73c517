"""`kata room`: the practice of the terminal as pages of a browser on the same machine."""
