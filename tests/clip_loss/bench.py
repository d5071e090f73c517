"""The floor is three products of the two feature matrices: one forward, two backward. transformers does the same work in
the same operators: no difference is to be expected."""

from functools import partial

from dojo.testing.bench import work


def both_products(images, texts, scale):
    """A product for each direction."""
    images, texts = (f / f.norm(dim=-1, keepdim=True) for f in (images, texts))
    loss = 0
    for one, other in ((images, texts), (texts, images)):
        loss = loss - (scale * one @ other.T).log_softmax(-1).diagonal().mean() / 2
    return loss


def train_step(loss, images, texts):
    leaves = [f.detach().requires_grad_() for f in (images, texts)]
    value = loss(*leaves, 100.0)
    value.backward()
    return [value, *(leaf.grad for leaf in leaves)]


@work(
    batch=512,
    dim=512,
    sweep={"batch": (128, 256, 1024), "dim": (256, 1024)},
    grows={"batch": 2, "dim": 1},
    tiny={"batch": 64, "dim": 64},
    counts="flops",
)
def train(bench, batch, dim):
    """The loss and its gradients."""
    images, texts = bench.randn(batch, dim), bench.randn(batch, dim)
    bench.katas(lambda kata: partial(train_step, kata.clip_loss, images, texts))
    bench.way("naive: a product each way", partial(train_step, both_products, images, texts))
    bench.adapted("transformers", lambda adapter: partial(train_step, adapter.clip_loss, images, texts))
    bench.same(rtol=1e-3, atol=1e-5)
    bench.floor(flops=3 * 2 * batch**2 * dim)
