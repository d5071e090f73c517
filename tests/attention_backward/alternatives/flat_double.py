"""Everything in float64 on a flat batch with torch.bmm; `saved` is an object with copies of q, k and v."""

import torch


class Attention:
    def __init__(self, q, k, v, mask):
        self.batch, self.dtype = q.shape[:-2], q.dtype
        shape = (*q.shape[:-1], k.shape[-2])
        if (*q.shape[:-2], k.shape[-2], q.shape[-1]) != tuple(k.shape) or k.shape[:-1] != v.shape[:-1]:
            raise ValueError("shapes")
        if mask is not None:
            if mask.dtype != torch.bool:
                raise ValueError("boolean")
            if torch.Size(shape) != self.broadcast(mask.shape, shape):
                raise ValueError("mask")
        self.mask = mask
        self.q, self.k, self.v = (x.double().reshape(-1, *x.shape[-2:]) for x in (q, k, v))
        if q.dtype == torch.float64:
            self.q, self.k, self.v = self.q.clone(), self.k.clone(), self.v.clone()

    @staticmethod
    def broadcast(*shapes):
        try:
            return torch.broadcast_shapes(*shapes)
        except RuntimeError as error:
            raise ValueError(str(error)) from error

    def probs(self):
        s = torch.bmm(self.q, self.k.transpose(1, 2)).div(self.q.size(2) ** 0.5)
        if self.mask is None:
            return s.softmax(2)
        seen = self.mask.expand(*self.batch, *s.shape[1:]).reshape(s.shape)
        s = s.masked_fill(~seen, torch.finfo(s.dtype).min)
        return s.softmax(2) * seen  # a row without a key has equal weights, and loses all of them

    def forward(self):
        return self.restore(torch.bmm(self.probs(), self.v))

    def gradients(self, grad):
        if grad.shape != (*self.batch, self.q.size(1), self.v.size(2)):
            raise ValueError("grad")
        g, p = grad.double().reshape(-1, *grad.shape[-2:]), self.probs()
        dp = torch.bmm(g, self.v.transpose(1, 2))
        ds = p * dp - p * (p * dp).sum(2, keepdim=True)
        dq = torch.bmm(ds, self.k) / self.q.size(2) ** 0.5
        dk = torch.bmm(ds.transpose(1, 2), self.q) / self.q.size(2) ** 0.5
        return self.restore(dq), self.restore(dk), self.restore(torch.bmm(p.transpose(1, 2), g))

    def restore(self, x):
        return x.reshape(*self.batch, *x.shape[1:]).to(self.dtype)


def matmul_backward(grad, a, b):
    if not (a.dim() > 1 and b.dim() > 1 and a.size(-1) == b.size(-2)):
        raise ValueError("no product")
    batch = Attention.broadcast(a.shape[:-2], b.shape[:-2])
    if grad.shape != (*batch, a.size(-2), b.size(-1)):
        raise ValueError("grad")

    def flat(x):
        return x.double().expand(*batch, *x.shape[-2:]).reshape(-1, *x.shape[-2:])

    def back(x, like):
        return x.reshape(*batch, *like.shape[-2:]).sum_to_size(like.shape).to(like.dtype)

    g = flat(grad)
    return back(torch.bmm(g, flat(b).transpose(1, 2)), a), back(torch.bmm(flat(a).transpose(1, 2), g), b)


def softmax_backward(grad, probs):
    if grad.shape != probs.shape:
        raise ValueError("shapes")
    p = probs.double()
    return (p * (grad - (grad * p).sum(-1, keepdim=True))).to(probs.dtype)


def attention_forward(q, k, v, mask=None):
    attention = Attention(q, k, v, mask)
    return attention.forward(), attention


def attention_backward(grad, saved):
    return saved.gradients(grad)
