"""Grades a whole class: each distinct file once, and only those without a stored result. Imports the rest of `grading`."""
