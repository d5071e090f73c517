"""At scale 0 and 1 only the half that counts is computed; indices of the dropped rows; standard deviations by hand."""

import torch


def guide(eps_uncond, eps_cond, scale):
    if scale == 0:
        return eps_uncond.clone()
    if scale == 1:
        return eps_cond.clone()
    return torch.add(eps_uncond, torch.sub(eps_cond, eps_uncond), alpha=scale)


def guided_eps(model, x_t, t, cond, null_cond, scale):
    null = null_cond.expand(cond.shape)
    if scale == 1:
        return model(x_t, t, cond)
    if scale == 0:
        return model(x_t, t, null)
    first, second = model(torch.cat([x_t] * 2), torch.cat([t] * 2), torch.cat([null, cond])).split(len(x_t))
    return guide(first, second, scale)


def drop_condition(cond, null_cond, p, *, generator=None):
    if not 0 <= p <= 1:
        raise ValueError("0 <= p <= 1")
    rows = (torch.rand(len(cond), generator=generator, dtype=torch.float64) < p).nonzero()[:, 0]
    return cond.index_copy(0, rows, null_cond.expand_as(cond)[rows])


def rescale_guidance(guided, eps_cond, phi):
    if not 0 <= phi <= 1:
        raise ValueError("0 <= phi <= 1")

    def spread(x):
        rows = x.reshape(len(x), -1).double()
        return (rows - rows.mean(1, keepdim=True)).square().mean(1).sqrt()

    factor = 1 + phi * (spread(eps_cond) / spread(guided) - 1)
    return guided * factor.to(guided.dtype).reshape(-1, *[1] * (guided.dim() - 1))
