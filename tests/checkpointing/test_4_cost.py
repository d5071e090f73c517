"""Stage 4. Cost."""

import torch
from torch import nn
from torch.optim import Adam

from dojo.testing import expect
from katas.checkpointing import load_checkpoint, save_checkpoint


def test_the_file_holds_every_tensor_once(rng, path):
    """Adam: weights and two moments, 3 times the weights' bytes. More means a pickled model, gradients, or a copy."""
    model = nn.Linear(200, 300)
    optimizer = Adam(model.parameters())
    model(torch.ones(1, 200)).sum().backward()
    optimizer.step()
    save_checkpoint(path, model=model, optimizer=optimizer, epoch=1)
    load_checkpoint(path, model=model, optimizer=optimizer)
    ratio = path.stat().st_size / (3 * sum(p.nbytes for p in model.parameters()))
    what = f"the file should take 1.0 to 1.2 times the bytes of weights and moments, but takes {ratio:.2f} times"
    expect(1 <= ratio <= 1.2, what, hint="the two state_dicts, each once")
