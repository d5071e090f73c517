"""Stage 4. Cost."""

import torch
from torch import nn

from dojo.testing import expect, randn
from katas.transfer_learning import freeze, replace_head


def test_a_frozen_backbone_costs_no_backward_pass(rng, cost):
    """Nothing below the head needs a gradient, so backward is one product: the gradient of the head's weight. And the
    forward pass is that of the model in eval mode."""
    sizes = [(32, 64), (64, 64), (64, 16)]
    layers = [nn.Linear(*sizes[0]), nn.BatchNorm1d(64), nn.Linear(*sizes[1]), nn.ReLU(), nn.Linear(*sizes[2])]
    model, x = nn.Sequential(*layers).eval(), randn(rng, 10, 32, dtype=torch.float32)
    with cost() as plain:
        model(x)
    freeze(model)
    replace_head(model, 16)
    model.train()
    with cost() as spent:
        loss = model(x).sum()
    expect(
        spent.operators <= plain.operators + 1, f"a frozen forward should take {plain.operators} operators, took more"
    )
    with cost() as spent:
        loss.backward()
    products = spent.flops / (2 * 10 * 64 * 16)
    hint = "requires_grad_(False) on every parameter of the backbone"
    expect(products == 1, f"backward should cost 1 product of the head's size, but costs {products:g}", hint=hint)
