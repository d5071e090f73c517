"""The trainer: the pytest plugin, the proof that the tests are right, and the `kata` command."""
