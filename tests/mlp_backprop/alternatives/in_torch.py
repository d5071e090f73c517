"""torch's tensors for the arithmetic, without autograd; features first, so that a batch is a matrix of columns."""

import numpy as np
import torch


def init_params(sizes, *, rng):
    if len(sizes) < 2 or min(sizes) < 1:
        raise ValueError("sizes")
    shapes = [(sizes[i], sizes[i + 1]) for i in range(len(sizes) - 1)]
    numbers = rng.standard_normal(sum(n * m for n, m in shapes))
    params, start = [], 0
    for n, m in shapes:
        params.append((numbers[start : start + n * m].reshape(n, m) * (2 / n) ** 0.5, np.zeros(m)))
        start += n * m
    return params


def softmax_cross_entropy(logits, targets):
    if logits.ndim != 2 or targets.shape != (len(logits),) or len(targets) < 1:
        raise ValueError("shapes")
    index = torch.from_numpy(targets.astype(np.int64))
    if index.min() < 0 or index.max() >= logits.shape[1]:
        raise ValueError("targets")
    z = torch.from_numpy(np.array(logits))
    own = z.gather(1, index[:, None])[:, 0]
    grad = torch.softmax(z, 1)
    grad.scatter_add_(1, index[:, None], torch.full((len(z), 1), -1.0, dtype=z.dtype))
    return (torch.logsumexp(z, 1) - own).mean().item(), grad.div_(len(z)).numpy()


def tensor(array):
    return torch.from_numpy(np.array(array))


def mlp_forward(params, x):
    if len(params) < 1 or x.ndim != 2:
        raise ValueError("layers, x")
    columns, kept = tensor(x).T, []
    for w, b in params:
        if w.ndim != 2 or b.shape != (w.shape[1],) or w.shape[0] != columns.shape[0]:
            raise ValueError("layer")
        kept.append(columns.clamp(min=0) if kept else columns)
        columns = tensor(w).T @ kept[-1] + tensor(b)[:, None]
    return columns.T.contiguous().numpy(), kept


def mlp_backward(params, cache, grad_logits):
    if grad_logits.shape != (cache[0].shape[1], params[-1][0].shape[1]):
        raise ValueError("grad_logits")
    grad, gradients = tensor(grad_logits).T, []
    for (w, _), h in zip(params[::-1], cache[::-1], strict=True):
        gradients.append(((h @ grad.T).numpy(), grad.sum(1).numpy()))
        grad = tensor(w) @ grad
        if h is not cache[0]:
            grad = torch.where(h > 0, grad, torch.zeros((), dtype=grad.dtype))
    return gradients[::-1], grad.T.contiguous().numpy()


def train_step(params, x, targets, *, lr, weight_decay=0.0):
    logits, cache = mlp_forward(params, x)
    loss, grad = softmax_cross_entropy(logits, targets)
    new = []
    for (w, b), (grad_w, grad_b) in zip(params, mlp_backward(params, cache, grad)[0], strict=True):
        new.append(((w - lr * weight_decay * w) - lr * grad_w, b - lr * grad_b))
    return loss, new


def gradient_check(loss, array, gradient, eps=1e-5):
    if array.shape != gradient.shape:
        raise ValueError("shapes")
    if not eps > 0:
        raise ValueError("eps")
    before = array.copy()
    slopes = []
    for i in range(array.size):
        place = np.unravel_index(i, array.shape)
        array[place] = before[place] + eps
        up = float(loss())
        array[place] = before[place] - eps
        slopes.append((up - float(loss())) / (2 * eps))
        array[place] = before[place]
    a = torch.tensor(slopes, dtype=torch.float64)
    g = torch.from_numpy(gradient.astype(np.float64).reshape(-1))
    error = (a - g).abs() / torch.stack([a.abs(), g.abs(), torch.full_like(a, 1e-8)]).amax(0)
    return error.max().item() if len(error) else 0.0
