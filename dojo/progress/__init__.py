"""What is remembered about a learner: runs, drills, attempts, when to repeat a kata. Imports core, and no torch or pytest.

All SQL of the trainer is in this room.
"""
