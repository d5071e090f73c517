"""Turns evidence into points and sentences, in the grader's own process. Imports `core`, `testing` and the sandbox."""
