"""The threshold by `kthvalue` on the negated logits; sampling through torch.distributions-free log-probabilities."""

import torch


def top_k_filter(logits, k):
    if not k >= 1:
        raise ValueError(f"bad k: {k}")
    vocab = logits.shape[-1]
    if k >= vocab:
        return logits.clone()
    threshold = logits.kthvalue(vocab - k + 1, dim=-1, keepdim=True).values
    return logits.where(logits >= threshold, float("-inf"))


@torch.no_grad()
def sample_top_k(logits, k, temperature=1.0, *, generator=None):
    if not k >= 1:
        raise ValueError(f"bad k: {k}")
    if not temperature >= 0:
        raise ValueError(f"bad temperature: {temperature}")
    flat = logits.reshape(-1, logits.shape[-1])
    if temperature == 0:
        return flat.argmax(1).reshape(logits.shape[:-1])
    values, tokens = flat.topk(min(k, flat.shape[1]), sorted=True)
    log_probs = torch.log_softmax((values.double() - values[:, :1].double()) / temperature, 1)
    drawn = torch.multinomial(log_probs.exp(), num_samples=1, replacement=True, generator=generator)
    return tokens.take_along_dim(drawn, dim=1).reshape(logits.shape[:-1])
