"""`kata hunt`: mistakes are planted into a working implementation, and the learner makes its tests pass again."""
