"""The `kata` command: it parses, calls and prints. May import every other room."""
