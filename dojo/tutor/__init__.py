"""`kata mcp`: an assistant on the learner's machine can run their katas, and tutor them without seeing the answers."""
