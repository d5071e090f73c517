"""No pool: each block is a tensor of its own, made when it is needed, and dropped when it is free. attend stacks them."""

import torch


class PagedKVCache:
    def __init__(self, blocks, block_size, heads, head_dim, *, dtype=torch.float32, device=None):
        if blocks < 1 or block_size < 1 or heads < 1 or head_dim < 1:
            raise ValueError("every size must be positive")
        self.block_size, self.blocks = block_size, blocks
        self.like = torch.zeros(block_size, 2, heads, head_dim, dtype=dtype, device=device)
        self.memory, self.counts, self.tables, self.lengths = {}, [0] * blocks, {}, {}

    def known(self, seq):
        if seq not in self.tables:
            raise ValueError(f"{seq} does not exist")

    def unused(self):
        return [block for block, count in enumerate(self.counts) if count == 0]

    @property
    def free_blocks(self):
        return self.counts.count(0)

    def length(self, seq):
        self.known(seq)
        return self.lengths[seq]

    def table(self, seq):
        self.known(seq)
        return list(self.tables[seq])

    def create(self, seq, blocks=()):
        if seq in self.tables:
            raise ValueError(f"{seq} exists")
        if any(block not in self.memory for block in blocks):
            raise ValueError("a block is free")
        self.tables[seq], self.lengths[seq] = [*blocks], len(blocks) * self.block_size
        for block in blocks:
            self.counts[block] += 1

    def append(self, seq, k, v):
        self.known(seq)
        table, length, new, free = self.tables[seq], self.lengths[seq], k.shape[1], self.unused()
        if new == 0:
            return
        tokens = torch.stack([k, v]).permute(2, 0, 1, 3).detach().to(self.like.dtype)  # [n, 2, heads, head_dim]
        used = length % self.block_size
        room = min((self.block_size - used) % self.block_size, new)
        shared = room > 0 and self.counts[table[-1]] > 1
        fresh = -(-(new - room) // self.block_size)
        if fresh + shared > len(free):
            raise MemoryError(f"{fresh + shared} of {len(free)}")
        if shared:
            self.counts[table[-1]] -= 1
            copy = free.pop()
            self.memory[copy], self.counts[copy] = self.memory[table[-1]].clone(), 1
            table[-1] = copy
        if room:
            self.memory[table[-1]][used : used + room] = tokens[:room]
        if fresh:
            rest = self.like.new_zeros(fresh * self.block_size, *self.like.shape[1:])
            rest[: new - room] = tokens[room:]
            for part in rest.split(self.block_size):
                block = free.pop()
                self.memory[block], self.counts[block] = part, 1
                table.append(block)
        self.lengths[seq] += new

    def fork(self, parent, child):
        self.create(child, self.table(parent))
        self.lengths[child] = self.lengths[parent]

    def free(self, seq):
        gone = []
        for block in self.table(seq):
            self.counts[block] -= 1
            if not self.counts[block]:
                del self.memory[block]
                gone.append(block)
        del self.tables[seq], self.lengths[seq]
        return gone

    def attend(self, seqs, q):
        if any(self.length(seq) == 0 for seq in seqs):
            raise ValueError("no tokens")
        most = max(len(self.tables[seq]) for seq in seqs)
        rows = [[self.memory[block] for block in self.tables[seq]] for seq in seqs]
        padded = [block for row in rows for block in row + [self.like] * (most - len(row))]
        tokens = torch.cat(padded).unflatten(0, (len(seqs), -1)).to(q.dtype)  # [batch, tokens, 2, heads, head_dim]
        k, v = tokens.permute(2, 0, 3, 1, 4)
        lengths = torch.tensor([self.lengths[seq] for seq in seqs], device=q.device)
        beyond = torch.arange(k.shape[2], device=q.device) >= lengths[:, None]
        scores = (k @ (q * q.shape[-1] ** -0.5)[..., None]).squeeze(-1)
        weights = scores.masked_fill(beyond[:, None], -torch.inf).softmax(-1)
        return (weights[:, :, None] @ v).squeeze(2)


class PrefixIndex:
    """Two dicts: the tokens of each block with all before them, and the block of such tokens."""

    def __init__(self, block_size):
        if block_size < 1:
            raise ValueError("block_size")
        self.block_size, self.block_of, self.text_of = block_size, {}, {}

    def lookup(self, tokens):
        tokens, blocks = tuple(tokens), []
        while (end := (len(blocks) + 1) * self.block_size) < len(tokens) and tokens[:end] in self.block_of:
            blocks.append(self.block_of[tokens[:end]])
        return blocks

    def insert(self, tokens, blocks):
        tokens = tuple(tokens)
        for number in range(min(len(tokens) // self.block_size, len(blocks))):
            text = tokens[: (number + 1) * self.block_size]
            if text not in self.block_of:
                self.block_of[text] = blocks[number]
                self.text_of[blocks[number]] = text

    def evict(self, block):
        text = self.text_of.pop(block, None)
        if text is not None:
            self.block_of.pop(text)
