"""The sizes of Stable Diffusion's first block: 4096 pixels of 320 channels read 77 words and 4 image tokens. The floor is
the FLOPs of the projections and of both attentions' products."""

import torch

from dojo.testing.bench import work

HEADS, HEAD_DIM, CONTEXT_DIM = 8, 40, 768
WIDTH = HEADS * HEAD_DIM


def two_whole_attentions(layer, x, context, image):
    """Queries projected twice, scores and weights formed in full."""

    def attend(tokens, to_k, to_v):
        q, k, v = (t.unflatten(-1, (HEADS, -1)).transpose(1, 2) for t in (layer.to_q(x), to_k(tokens), to_v(tokens)))
        return ((q @ k.mT / HEAD_DIM**0.5).softmax(-1) @ v).transpose(1, 2).flatten(-2)

    text = attend(context, layer.to_k, layer.to_v)
    return layer.to_out(text + layer.scale * attend(image, layer.to_k_image, layer.to_v_image))


def attend(layer, *inputs):
    def run():
        with torch.no_grad():
            return layer(*inputs)

    return run


@work(
    batch=2,
    pixels=4096,
    words=77,
    tokens=4,
    sweep={"batch": (1, 4), "pixels": (256, 1024), "tokens": (16, 64)},
    grows={"batch": 1, "pixels": 1},
    tiny={"pixels": 4096, "words": 8},
)
def decoupled_attention(bench, batch, pixels, words, tokens):
    """Pixels read words and a picture."""
    x, context = bench.randn(batch, pixels, WIDTH), bench.randn(batch, words, CONTEXT_DIM)
    image = bench.randn(batch, tokens, CONTEXT_DIM)
    arguments = WIDTH, CONTEXT_DIM, HEADS, HEAD_DIM, 0.6
    reference = bench.reference.DecoupledCrossAttention(*arguments).to(bench.device)

    def of(module):
        layer = module.DecoupledCrossAttention(*arguments).to(bench.device)
        layer.load_state_dict(reference.state_dict())
        return attend(layer, x, context, image)

    bench.katas(of)
    naive = attend(lambda *inputs: two_whole_attentions(reference, *inputs), x, context, image)
    bench.way("naive: two whole attentions", naive)
    bench.adapted("diffusers", of)
    bench.same(rtol=1e-4, atol=1e-5)
    projections = 2 * WIDTH * (pixels * WIDTH * 2 + (words + tokens) * CONTEXT_DIM * 2)
    bench.floor(flops=batch * (projections + 4 * pixels * (words + tokens) * WIDTH))
