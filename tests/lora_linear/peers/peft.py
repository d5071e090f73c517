"""peft's own LoRA layer. Its adapters have names and live in submodules; here there is one, under the kata's names."""

import warnings

from peft import LoraConfig
from peft.tuners.lora import Linear
from torch import nn


class LoRALinear(nn.Module):
    def __init__(self, base, rank, alpha, dropout=0.0):
        super().__init__()
        if not 0 <= dropout < 1:  # peft leaves this to nn.Dropout, which takes 1
            raise ValueError(f"dropout must lie in [0, 1), got {dropout}")
        config = LoraConfig(r=rank, lora_alpha=alpha, lora_dropout=dropout)
        layer = Linear(base.requires_grad_(False), "default", config, r=rank, lora_alpha=alpha)
        self.layer = [layer]  # in a list, so that its parameters are registered once, and not under peft's names
        self.base = base
        self.lora_A, self.lora_B = layer.lora_A["default"].weight, layer.lora_B["default"].weight

    @property
    def merged(self):
        return self.layer[0].merged

    def forward(self, x):
        return self.layer[0].train(self.training)(x)

    def merge(self):
        with warnings.catch_warnings(action="ignore"):  # peft warns when there is nothing to do
            self.layer[0].merge()

    def unmerge(self):
        with warnings.catch_warnings(action="ignore"):
            self.layer[0].unmerge()
