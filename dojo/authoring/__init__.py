"""What makers of katas need: the proof of a kata, benchmarks, scaffolding, stubs and notebooks.

May import engine, testing and core.
"""
