"""Does once what most tests do, so that a worker that waits for its job has torch's first calls behind it.

The first call of an operator, of a backward pass or of an optimizer takes several times as long as the second, in each
child anew: torch sets itself up, Python specialises its code, and the child gets its own copy of each page it writes.
"""

import math
from contextlib import suppress
from pathlib import Path

ROUNDS = 2  # Python specialises code that has run more than once


def warm_up() -> None:
    """Calls the operators and checks that most tests call. Leaves torch's random stream as it was.

    Does nothing where there is an NVIDIA driver: a backward pass would start threads for the GPU.
    """
    if Path("/dev/nvidiactl").exists():
        return
    import torch

    with suppress(Exception), torch.random.fork_rng(devices=[]):  # without it, a run is only slower
        for _ in range(ROUNDS):
            for dtype in (torch.float32, torch.float64, torch.float16, torch.bfloat16):
                _tensors(dtype)
            _training()
            _checks()


def _tensors(dtype: "torch.dtype") -> None:  # type: ignore[name-defined]  # noqa: F821
    import torch

    rng = torch.Generator().manual_seed(0)
    x = torch.randn(3, 4, generator=rng).to(dtype).requires_grad_()
    (x @ x.T).softmax(-1).log().sum().backward()  # type: ignore[no-untyped-call]
    plain = x.detach()
    plain.where(plain > 0, 0).amax(-1, keepdim=True)
    plain.gather(-1, torch.zeros(3, 1, dtype=torch.int64))
    plain.sort(-1)
    plain.topk(2)
    plain.cumsum(-1).exp().mean().item()
    torch.cat([plain, plain]).tolist()
    torch.stack([plain, torch.ones_like(plain), torch.full((3, 4), 0.5, dtype=dtype)])
    torch.rand(3, generator=rng)
    torch.randint(0, 4, (3,), generator=rng)
    torch.randperm(4, generator=rng)
    torch.multinomial(torch.ones(4), 2, generator=rng)


def _training() -> None:
    import torch
    from torch import nn
    from torch.nn import functional as F

    layers = (nn.Conv2d(2, 4, 3, padding=1), nn.GroupNorm(2, 4), nn.SiLU(), nn.Flatten(), nn.Linear(64, 8))
    model = nn.Sequential(*layers, nn.LayerNorm(8), nn.ReLU(), nn.Dropout(0.1))
    for optimizer in (torch.optim.SGD(model.parameters(), lr=0.1), torch.optim.Adam(model.parameters())):
        optimizer.zero_grad()
        F.cross_entropy(model(torch.ones(2, 2, 4, 4)), torch.tensor([0, 1])).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    model.load_state_dict(model.state_dict())
    q = torch.ones(1, 2, 3, 4, dtype=torch.float64)
    F.scaled_dot_product_attention(q, q, q, is_causal=True)
    F.embedding(torch.tensor([0, 1]), torch.ones(3, 2))


def _checks() -> None:
    import torch

    from dojo.testing import Wrong, expect_close, expect_equal, expect_raises, measure

    x = torch.ones(2, 3, dtype=torch.float64)
    expect_close(x, x.clone(), what="x")
    for expect in (expect_close, expect_equal):
        with suppress(Wrong):
            expect(x, x + 1, what="x", hint="none")
    with expect_raises(ValueError, what="x"):
        raise ValueError
    with measure():
        (x @ x.T).softmax(-1).sum()
    torch.autograd.gradcheck(lambda y: (y * math.pi).sum(), (x.clone().requires_grad_(),))
