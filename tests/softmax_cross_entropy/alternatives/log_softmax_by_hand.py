"""A log-softmax written out; ignored rows are wiped out by a product with 0. The chunked loss asks autograd for each
chunk's gradients at once, in the forward pass."""

import torch


def log_softmax(z):
    z = z - z.amax(-1, keepdim=True)
    return z - z.exp().sum(-1, keepdim=True).log()


def log_sum_exp(x):
    wide = x.double()
    m = wide.amax(-1).nan_to_num(neginf=0.0)
    return ((wide - m.unsqueeze(-1)).exp().sum(-1).log() + m).to(x)


def parts(targets, vocab, label_smoothing, ignore_index, z_loss, total):
    if not (0.0 <= label_smoothing < 1.0 and z_loss >= 0.0 and (total is None or total >= 1)):
        raise ValueError("an option is out of its range")
    mask = targets.ne(ignore_index)
    classes = targets * mask
    if not torch.equal(classes, classes.clamp(0, vocab - 1)):
        raise ValueError("a target is out of its range")
    return mask, classes, mask.sum().clamp(min=1) if total is None else total


def cross_entropy(logits, targets, *, label_smoothing=0.0, ignore_index=-100, z_loss=0.0, total=None):
    mask, classes, divisor = parts(targets, logits.size(1), label_smoothing, ignore_index, z_loss, total)
    log_probs = log_softmax(logits.double())
    loss = -log_probs.gather(1, classes.view(-1, 1)).squeeze(1)
    if label_smoothing:
        loss = loss.lerp(-log_probs.mean(1), label_smoothing)
    if z_loss:
        loss = loss + z_loss * log_sum_exp(logits.double()) ** 2
    return torch.div((loss * mask).sum(), divisor).to(logits)


def cross_entropy_grad(logits, targets, *, label_smoothing=0.0, ignore_index=-100, z_loss=0.0, total=None):
    mask, classes, divisor = parts(targets, logits.size(1), label_smoothing, ignore_index, z_loss, total)
    z = logits.double()
    grad = log_softmax(z).exp()
    if z_loss:
        grad = grad + 2 * z_loss * log_sum_exp(z)[:, None] * grad
    smooth = torch.full_like(z, label_smoothing / z.size(1))
    smooth.scatter_add_(1, classes[:, None], torch.full_like(z[:, :1], 1 - label_smoothing))
    return ((grad - smooth) * mask[:, None] / divisor).to(logits)


class Chunked(torch.autograd.Function):
    @staticmethod
    def forward(ctx, hidden, weight, targets, chunk_size, options):
        d_hidden, d_weight, loss = [], 0, 0
        for h, t in zip(hidden.split(chunk_size), targets.split(chunk_size), strict=True):
            with torch.enable_grad():
                h, w = h.detach().requires_grad_(), weight.detach().requires_grad_()
                part = cross_entropy(h @ w.T, t, **options)
                dh, dw = torch.autograd.grad(part, (h, w))
            d_hidden.append(dh)
            d_weight, loss = d_weight + dw, loss + part.detach()
        ctx.save_for_backward(torch.cat(d_hidden), d_weight)
        return loss

    @staticmethod
    def backward(ctx, grad):
        return (*(grad * saved for saved in ctx.saved_tensors), None, None, None)


def linear_cross_entropy(
    hidden, weight, targets, *, chunk_size, label_smoothing=0.0, ignore_index=-100, z_loss=0.0, total=None
):
    if not chunk_size >= 1:
        raise ValueError("chunk_size")
    options = {"label_smoothing": label_smoothing, "ignore_index": ignore_index, "z_loss": z_loss}
    divisor = parts(targets, len(weight), total=total, **options)[2]
    wide = torch.float64 if hidden.dtype == torch.float64 else torch.float32
    loss = Chunked.apply(hidden.to(wide), weight.to(wide), targets, chunk_size, {**options, "total": int(divisor)})
    return loss.to(hidden.dtype)
