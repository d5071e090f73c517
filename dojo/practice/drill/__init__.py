"""`kata drill`: a timed interview on a fresh copy of a stub."""
