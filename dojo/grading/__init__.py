"""Grades submissions so that they cannot forge a score. Imports `core`, `testing`, and of `engine` processes and diagnosis.

The process that runs a submission only returns what it computed. Another process, which never imports the submission,
compares that with the reference's results and gives points.
"""
