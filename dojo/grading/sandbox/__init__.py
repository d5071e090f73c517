"""Runs a submission in a process that may not read, write, start or reach anything it does not need.

The layers that forbid it are Linux's; elsewhere each reports why it is off. Imports engine, testing and core, and of
grading only `results`.
"""
