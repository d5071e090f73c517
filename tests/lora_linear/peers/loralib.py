"""loralib's layer. It makes a weight of its own and merges in eval(), unmerges in train(): both are undone here."""

import loralib
from torch import nn


class LoRALinear(nn.Module):
    def __init__(self, base, rank, alpha, dropout=0.0):
        super().__init__()
        if rank < 1 or not 0 <= dropout < 1:  # in loralib a rank of 0 means no adapter
            raise ValueError(f"rank must be at least 1 and dropout in [0, 1), got {rank} and {dropout}")
        like = {"device": base.weight.device, "dtype": base.weight.dtype}
        sizes = base.in_features, base.out_features
        layer = loralib.Linear(*sizes, r=rank, lora_alpha=alpha, lora_dropout=dropout, merge_weights=False, **like)
        self.base = base.requires_grad_(False)
        layer.weight, layer.bias = base.weight, base.bias
        self.layer = [layer]  # in a list, so that the base's parameters are registered once
        self.lora_A, self.lora_B = layer.lora_A, layer.lora_B

    @property
    def merged(self):
        return self.layer[0].merged

    def forward(self, x):
        self.layer[0].train(self.training)  # returns None in loralib
        return self.layer[0](x)

    def _switch(self, train):
        self.layer[0].merge_weights = True
        self.layer[0].train(train)
        self.layer[0].merge_weights = False

    def merge(self):
        self._switch(train=False)

    def unmerge(self):
        self._switch(train=True)
