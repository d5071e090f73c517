"""One memory of slots, a set of owners for each block, a heap of free ones, softmax by hand; prefixes as whole tuples."""

import heapq

import torch


class PagedKVCache:
    def __init__(self, blocks, block_size, heads, head_dim, *, dtype=torch.float32, device=None):
        if any(size <= 0 for size in (blocks, block_size, heads, head_dim)):
            raise ValueError("sizes must be positive")
        self.block_size = block_size
        self.slots = torch.zeros(2, blocks * block_size, heads, head_dim, dtype=dtype, device=device)
        self.heap = list(range(blocks))
        self.owners = {}
        self.sequences = {}  # name -> [blocks, length]

    def __getitem__(self, seq):
        try:
            return self.sequences[seq]
        except KeyError:
            raise ValueError(f"unknown sequence {seq}") from None

    @property
    def free_blocks(self):
        return len(self.heap)

    def length(self, seq):
        return self[seq][1]

    def table(self, seq):
        return self[seq][0][:]

    def create(self, seq, blocks=()):
        if seq in self.sequences:
            raise ValueError(f"{seq} exists")
        if set(blocks) - self.owners.keys():
            raise ValueError("free blocks")
        for block in blocks:
            self.owners[block].add(seq)
        self.sequences[seq] = [[*blocks], self.block_size * len(blocks)]

    def slots_of(self, blocks):
        blocks = torch.tensor(blocks, dtype=torch.int64, device=self.slots.device)
        offsets = torch.arange(self.block_size, device=self.slots.device)
        return (blocks[:, None] * self.block_size + offsets).flatten()

    @torch.no_grad()
    def append(self, seq, k, v):
        blocks, length = self[seq]
        new = k.size(1)
        if new == 0:
            return
        room = len(blocks) * self.block_size - length
        fresh = max(0, new - room + self.block_size - 1) // self.block_size
        copied = room > 0 and self.owners[blocks[-1]] != {seq}
        if fresh + copied > len(self.heap):
            raise MemoryError("full")
        taken = [heapq.heappop(self.heap) for _ in range(fresh + copied)]
        self.owners.update({block: {seq} for block in taken})
        if copied:
            old, blocks[-1] = blocks[-1], taken.pop(0)
            self.owners[old].remove(seq)
            self.slots[:, self.slots_of([blocks[-1]])] = self.slots[:, self.slots_of([old])]
        blocks += taken
        first = length // self.block_size
        slots = self.slots_of(blocks[first:])[length - first * self.block_size :][:new]
        self.slots[:, slots] = torch.stack([k, v]).transpose(1, 2).to(self.slots.dtype)
        self.sequences[seq][1] = length + new

    def fork(self, parent, child):
        blocks, length = self[parent]
        self.create(child, blocks)
        self.sequences[child][1] = length

    def free(self, seq):
        blocks, _ = self[seq]
        del self.sequences[seq]
        gone = []
        for block in blocks:
            self.owners[block].remove(seq)
            if not self.owners[block]:
                del self.owners[block]
                heapq.heappush(self.heap, block)
                gone.append(block)
        return gone

    def attend(self, seqs, q):
        longest = max(self.length(seq) for seq in seqs)
        if min(self.length(seq) for seq in seqs) == 0:
            raise ValueError("empty")
        slots = torch.full((len(seqs), longest), -1, device=q.device)
        for row, seq in enumerate(seqs):
            blocks, length = self[seq]
            slots[row, :length] = self.slots_of(blocks)[:length]
        wide = torch.promote_types(q.dtype, torch.float32)
        k, v = self.slots[:, slots.clamp(min=0)].to(wide)
        scores = torch.einsum("bhd,bthd->bht", q.to(wide), k) / q.shape[-1] ** 0.5
        scores = scores.masked_fill((slots < 0)[:, None], -torch.inf)
        weights = (scores - scores.amax(-1, keepdim=True)).exp()
        return torch.einsum("bht,bthd->bhd", weights / weights.sum(-1, keepdim=True), v).to(q.dtype)


class PrefixIndex:
    def __init__(self, block_size):
        if not block_size > 0:
            raise ValueError("block_size must be positive")
        self.block_size, self.known = block_size, {}

    def lookup(self, tokens):
        blocks = []
        for end in range(self.block_size, len(tokens), self.block_size):
            block = self.known.get(tuple(tokens[:end]))
            if block is None:
                break
            blocks.append(block)
        return blocks

    def insert(self, tokens, blocks):
        for number in range(len(tokens) // self.block_size):
            self.known.setdefault(tuple(tokens[: (number + 1) * self.block_size]), blocks[number])

    def evict(self, block):
        self.known = {tokens: other for tokens, other in self.known.items() if other != block}
