"""Objects for blocks and sequences, a loop over the sequences in attend, SDPA without a mask, a tree of prefixes."""

from collections import deque
from dataclasses import dataclass, field

import torch
from torch.nn import functional as F


@dataclass
class Block:
    number: int
    users: int = 0


@dataclass
class Row:
    blocks: list[Block] = field(default_factory=list)
    length: int = 0


class PagedKVCache:
    def __init__(self, blocks, block_size, heads, head_dim, *, dtype=torch.float32, device=None):
        for size in (blocks, block_size, heads, head_dim):
            if size < 1:
                raise ValueError(f"{size} is no size")
        self.size = block_size
        # [heads, blocks, slots, head_dim], and nothing is initialised: no slot is read that was not written
        self.k, self.v = (torch.empty(heads, blocks, block_size, head_dim, dtype=dtype, device=device) for _ in "kv")
        self.all = [Block(number) for number in range(blocks)]
        self.queue = deque(self.all)
        self.rows = {}

    def row(self, seq):
        if seq not in self.rows:
            raise ValueError(f"no such sequence: {seq}")
        return self.rows[seq]

    @property
    def free_blocks(self):
        return len(self.queue)

    def length(self, seq):
        return self.row(seq).length

    def table(self, seq):
        return [block.number for block in self.row(seq).blocks]

    def create(self, seq, blocks=()):
        if seq in self.rows:
            raise ValueError(f"{seq} is there already")
        shared = []
        for number in blocks:
            if number not in range(len(self.all)) or self.all[number].users == 0:
                raise ValueError(f"nobody holds {number}")
            shared.append(self.all[number])
        for block in shared:
            block.users += 1
        self.rows[seq] = Row(shared, len(shared) * self.size)

    def take(self):
        block = self.queue.popleft()
        block.users = 1
        return block

    def append(self, seq, k, v):
        row, new = self.row(seq), k.shape[1]
        if new == 0:
            return
        used = row.length % self.size
        cow = used != 0 and row.blocks[-1].users != 1
        total = (row.length + new + self.size - 1) // self.size
        if total - len(row.blocks) + cow > len(self.queue):
            raise MemoryError
        if cow:
            source, target = row.blocks[-1], self.take()
            for pool in (self.k, self.v):
                pool[:, target.number, :used] = pool[:, source.number, :used]
            source.users -= 1
            row.blocks[-1] = target
        while len(row.blocks) < total:
            row.blocks.append(self.take())
        numbers = torch.tensor(self.table(seq)[row.length // self.size :], device=self.k.device)
        places = torch.arange(used, used + new, device=self.k.device)
        with torch.no_grad():
            for pool, given in ((self.k, k), (self.v, v)):
                pool[:, numbers[places // self.size], places % self.size] = given.to(pool.dtype)
        row.length += new

    def fork(self, parent, child):
        row = self.row(parent)
        self.create(child, self.table(parent))
        self.rows[child].length = row.length

    def free(self, seq):
        self.row(seq)
        freed = []
        for block in self.rows.pop(seq).blocks:
            block.users -= 1
            if block.users == 0:
                self.queue.append(block)
                freed.append(block.number)
        return freed

    def attend(self, seqs, q):
        answers = []
        for seq, query in zip(seqs, q, strict=True):
            length = self.length(seq)
            if not length:
                raise ValueError(f"{seq} is empty")
            table = torch.tensor(self.table(seq), device=q.device)
            k, v = (pool[:, table].flatten(1, 2)[:, :length].to(q.dtype) for pool in (self.k, self.v))
            answers.append(F.scaled_dot_product_attention(query.unsqueeze(1), k, v).squeeze(1))
        return torch.stack(answers)


@dataclass
class Node:
    block: int | None = None
    children: dict = field(default_factory=dict)


class PrefixIndex:
    """Removing a node removes all below it."""

    def __init__(self, block_size):
        if block_size < 1:
            raise ValueError("too small")
        self.size, self.root, self.parents = block_size, Node(), {}

    def steps(self, tokens, count):
        for number in range(count):
            yield tuple(tokens[number * self.size : (number + 1) * self.size])

    def lookup(self, tokens):
        node, blocks = self.root, []
        for step in self.steps(tokens, max(0, len(tokens) - 1) // self.size):
            node = node.children.get(step)
            if node is None:
                return blocks
            blocks.append(node.block)
        return blocks

    def insert(self, tokens, blocks):
        node = self.root
        for step, block in zip(self.steps(tokens, len(tokens) // self.size), blocks, strict=False):
            if step not in node.children:
                node.children[step] = Node(block)
                self.parents[block] = node, step
            node = node.children[step]

    def evict(self, block):
        parent, step = self.parents.pop(block, (None, None))
        if parent is not None and parent.children.get(step) and parent.children[step].block == block:
            doomed = [parent.children.pop(step)]
            while doomed:
                node = doomed.pop()
                self.parents.pop(node.block, None)
                doomed += node.children.values()
