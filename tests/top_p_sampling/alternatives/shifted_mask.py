"""The mask shifted by one place, the first token always kept, carried back by the inverse permutation. At a mass of
exactly p one token more stays. Draws by the Gumbel-max trick on the filtered logits."""

import torch


def top_p_filter(logits, p):
    if not (p > 0 and p <= 1):
        raise ValueError(f"p = {p}")
    sorted_logits, sorted_indices = logits.sort(dim=-1, descending=True)
    cumulative = sorted_logits.double().softmax(dim=-1).cumsum(dim=-1)
    remove = cumulative > p
    remove[..., 1:] = remove[..., :-1].clone()
    remove[..., 0] = False
    inverse = sorted_indices.argsort(dim=-1)
    return torch.where(remove.gather(-1, inverse), torch.full_like(logits, -torch.inf), logits)


def sample_top_p(logits, p, temperature=1.0, top_k=None, *, generator=None):
    if not (p > 0 and p <= 1):
        raise ValueError(f"p = {p}")
    if not temperature >= 0:
        raise ValueError(f"temperature = {temperature}")
    if top_k is not None and top_k <= 0:
        raise ValueError(f"top_k = {top_k}")
    if temperature == 0:
        return logits.argmax(dim=-1)
    z = (logits.double() - logits.double().amax(-1, keepdim=True)) / temperature
    if top_k is not None:
        best = z.topk(min(top_k, z.shape[-1]))
        z = torch.full_like(z, -torch.inf).scatter_(-1, best.indices, best.values)
    noise = torch.empty(z.shape, dtype=torch.float64).exponential_(generator=generator).log()
    return (top_p_filter(z, p) - noise).argmax(-1)
