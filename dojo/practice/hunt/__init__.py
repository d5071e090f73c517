"""`kata hunt`: named mistakes planted into a working implementation; make the tests pass again."""
