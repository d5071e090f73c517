"""`kata dev verify`: the proof that a kata's tests reject wrong answers and accept right ones."""
