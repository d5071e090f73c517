"""Pictures of 576 tokens in rows of 1024, which are 2048 wide. The floor reads and writes each embedding once."""

from functools import partial

import torch

from dojo.testing.bench import work

IMAGE = -200


def token_by_token(embeddings, ids, features):
    """Each placeholder is written by itself."""
    rows = embeddings.clone()
    for (row, place), token in zip((ids == IMAGE).nonzero().tolist(), torch.cat(features), strict=True):
        rows[row, place] = token
    return rows


def looked_up(embeddings, ids, features):
    """Each place reads a token, needed or not, and takes it or its embedding."""
    is_image, joined = ids == IMAGE, torch.cat(features)
    number = (is_image.flatten().cumsum(0) - 1).clamp(min=0).view_as(ids)
    return torch.where(is_image[..., None], joined[number], embeddings)


def written(embeddings, ids, features):
    """A copy is written to, at a mask."""
    rows = embeddings.clone()
    rows[ids == IMAGE] = torch.cat(features)
    return rows


@work(
    batch=4,
    length=1024,
    dim=2048,
    sweep={"batch": (2, 4), "length": (512, 1024), "dim": (1024, 2048)},
    grows={"batch": 1, "length": 1, "dim": 1},
    tiny={"batch": 2, "length": 64, "dim": 64},
)
def rows(bench, batch, length, dim):
    """splice of one picture in each row, which takes nine places in sixteen."""
    tokens = 9 * length // 16
    embeddings, ids = bench.randn(batch, length, dim), 1 + bench.randint(100, batch, length)
    ids[:, 5 : 5 + tokens] = IMAGE
    features = [bench.randn(tokens, dim) for _ in range(batch)]
    bench.katas(lambda kata: partial(kata.splice, embeddings, ids, features, [1] * batch, IMAGE))
    bench.adapted("transformers", lambda kata: partial(kata.splice, embeddings, ids, features, [1] * batch, IMAGE))
    bench.way("naive: token by token", partial(token_by_token, embeddings, ids, features))
    bench.way("gather: look up every place", partial(looked_up, embeddings, ids, features))
    bench.way("torch: index_put at a mask", partial(written, embeddings, ids, features))
    bench.same(rtol=0.0, atol=0.0)
    bench.floor(bytes=2 * embeddings.nbytes)
