"""Only the True entries are looked at, in one flat list; a dot product for each step of GAE, cut at the next end."""

import torch


def up(x):
    return x.to(torch.promote_types(torch.float32, x.dtype))


def shapes(expected, *tensors):
    if any(list(t.shape) != list(expected) for t in tensors):
        raise ValueError(f"expected {list(expected)}")


def average(kept, like):
    """like keeps the graph where there is nothing to average."""
    return kept.mean() if kept.numel() else like.sum() * 0


def token_rewards(scores, log_probs, reference, mask, beta):
    shapes(mask.shape, log_probs, reference)
    shapes(mask.shape[:1], scores)
    if not beta >= 0:
        raise ValueError("beta")
    row, place = mask.nonzero(as_tuple=True)
    flat = beta * (up(reference.data)[row, place] - up(log_probs.data)[row, place])
    rewards = flat.new_zeros(mask.shape).index_put((row, place), flat)
    is_last = torch.ones_like(row).bool()
    is_last[:-1] = row[1:] != row[:-1]
    return rewards.index_put((row[is_last], place[is_last]), up(scores.data)[row[is_last]], accumulate=True)


def gae(rewards, values, dones, last_values, gamma, lam):
    batch, length = rewards.shape
    shapes((batch, length), values, dones)
    shapes((batch,), last_values)
    if not (gamma >= 0 and gamma <= 1 and lam >= 0 and lam <= 1):
        raise ValueError("gamma, lam")
    with torch.no_grad():
        v = torch.cat([up(values), up(last_values).unsqueeze(1)], 1)
        following = torch.where(dones, 0.0, v[:, 1:])
        delta = up(rewards) + gamma * following - v[:, :-1]
        episode = dones.cumsum(1) - dones.long()  # the number of the episode that each step belongs to
        steps = torch.arange(length, device=delta.device)
        columns = []
        for t in range(length):
            together = episode[:, t:] == episode[:, t : t + 1]
            weights = ((gamma * lam) ** (steps[t:] - t).to(delta)).to(delta)
            columns.append((delta[:, t:].masked_fill(~together, 0) * weights).sum(1))
        advantages = torch.stack(columns, 1)
        return advantages, advantages + v[:, :-1]


def whiten(x, mask):
    shapes(x.shape, mask)
    kept = up(x).detach()[mask]
    result = torch.zeros(x.shape, dtype=kept.dtype, device=x.device)
    if kept.numel():
        std = (kept.var(correction=0) + 1e-8).sqrt()
        result[mask] = (kept - kept.mean()) / std
    return result


def policy_loss(log_probs, old_log_probs, advantages, mask, clip=0.2):
    shapes(log_probs.shape, old_log_probs, advantages, mask)
    if not (clip > 0 and clip < 1):
        raise ValueError("clip")
    new, old, a = up(log_probs)[mask], up(old_log_probs.detach())[mask], up(advantages.detach())[mask]
    good, bad = a >= 0, a < 0
    ratio_good = (new[good] - old[good]).clamp(max=1).exp()
    ratio_bad = (new[bad] - old[bad]).exp()
    gain = torch.minimum(ratio_good, torch.full_like(ratio_good, 1 + clip)) * a[good]
    pain = torch.maximum(ratio_bad, torch.full_like(ratio_bad, 1 - clip)) * a[bad]
    bites = ((ratio_good > 1 + clip) & (a[good] > 0)).sum() + (ratio_bad < 1 - clip).sum()
    loss = -average(torch.cat([gain, pain]), new)
    return loss, (bites / max(len(a), 1)).to(loss.dtype)


def value_loss(values, old_values, returns, mask, clip=0.2):
    shapes(values.shape, old_values, returns, mask)
    if clip is not None and not clip > 0:
        raise ValueError("clip")
    v, old, r = up(values)[mask], up(old_values)[mask].detach(), up(returns)[mask].detach()
    distance = (v - r).abs()
    if clip is not None:
        distance = torch.maximum(distance, (torch.minimum(torch.maximum(v, old - clip), old + clip) - r).abs())
    return average(distance.pow(2), v) / 2


def entropy(logits, mask):
    shapes(logits.shape[:2], mask)
    z = up(logits[mask])  # [scored, vocab]
    z = z - z.detach().amax(-1, keepdim=True)
    finite = z.masked_fill(z == float("-inf"), -1e30)
    weights = finite.exp()
    total = weights.sum(-1)
    return average(total.log() - (weights * finite).sum(-1) / total, z[:, 0])
