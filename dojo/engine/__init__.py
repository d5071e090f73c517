"""Runs the katas' tests with pytest: the plugin, the diagnosis of wrong answers, and the processes that runs happen in.

May import `progress`, `testing` and `core`.
"""
