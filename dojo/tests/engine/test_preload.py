"""What happens before a fork changes nothing but what the fork costs."""

from dojo.engine.preload import collapse


def test_collapsed_memory_holds_what_it_held():
    blocks = [bytes([number]) * 2**16 for number in range(128)]
    collapse()
    collapse()
    assert all(block.count(number) == 2**16 for number, block in enumerate(blocks))
