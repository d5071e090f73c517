"""`kata dev verify`: the proof that a kata's tests reject wrong answers and accept right ones."""

import os

# Here, because NumPy reads it once, at its import, and torch imports NumPy. Two threads for a small product of matrices
# wait for each other most of the time, and the proof runs a trial on each core as it is.
os.environ.setdefault("OMP_NUM_THREADS", "1")
