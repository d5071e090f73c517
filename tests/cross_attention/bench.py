"""The sizes of Stable Diffusion's first block: 4096 pixels of 320 channels read 77 words. The floor is the FLOPs of the
projections and the two products."""

import torch

from dojo.testing.bench import work

HEADS, HEAD_DIM, CONTEXT_DIM = 8, 40, 768
WIDTH = HEADS * HEAD_DIM


def by_hand(layer, x, context, mask):
    """Scores, softmax and weights are formed in full, each the size [batch, heads, pixels, words]."""
    q, k, v = (
        t.unflatten(-1, (HEADS, -1)).transpose(1, 2) for t in (layer.to_q(x), layer.to_k(context), layer.to_v(context))
    )
    scores = q @ k.mT / HEAD_DIM**0.5
    if mask is not None:
        scores = scores.masked_fill(~mask[:, None, None], -torch.inf)
    return layer.to_out((scores.softmax(-1) @ v).transpose(1, 2).flatten(-2))


def attend(layer, x, context, mask=None):
    def run():
        with torch.no_grad():
            return layer(x, context, mask)

    return run


def compare(bench, batch, pixels, words, masked):
    x, context = bench.randn(batch, pixels, WIDTH), bench.randn(batch, words, CONTEXT_DIM)
    mask = (torch.arange(words) < words // 2 + 1).expand(batch, -1).to(bench.device) if masked else None
    arguments = WIDTH, CONTEXT_DIM, HEADS, HEAD_DIM
    reference = bench.reference.CrossAttention(*arguments).to(bench.device)

    def of(module):
        layer = module.CrossAttention(*arguments).to(bench.device)
        layer.load_state_dict(reference.state_dict())
        return attend(layer, x, context, mask)

    bench.katas(of)
    bench.way("naive: softmax by hand", attend(lambda *inputs: by_hand(reference, *inputs), x, context, mask))
    bench.adapted("diffusers", of)
    bench.same(rtol=1e-4, atol=1e-5)
    projections = 2 * WIDTH * (pixels * WIDTH * 2 + words * CONTEXT_DIM * 2)
    bench.floor(flops=batch * (projections + 4 * pixels * words * WIDTH))


GROWTH = {"grows": {"batch": 1, "pixels": 1}, "tiny": {"batch": 2, "pixels": 4096, "words": 8}}


@work(
    batch=2,
    pixels=4096,
    words=77,
    sweep={"batch": (1, 4), "pixels": (256, 1024), "words": (154, 308)},
    **GROWTH,
)
def attention(bench, batch, pixels, words):
    """Pixels read words."""
    compare(bench, batch, pixels, words, masked=False)


@work(batch=2, pixels=4096, words=77, **GROWTH)
def padded(bench, batch, pixels, words):
    """Pixels read words, of which half are padding."""
    compare(bench, batch, pixels, words, masked=True)
