"""A whole class: distinct files are graded once, and a run that was ended anywhere goes on where it was."""
