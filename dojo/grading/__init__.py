"""Grading that a submission cannot forge: what runs the submission returns evidence, what judges never runs it."""
