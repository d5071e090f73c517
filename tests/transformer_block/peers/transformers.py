"""transformers' LlamaMLP and LlamaDecoderLayer, whose projections, norms and attention are exchanged for those of the kata.

LlamaRMSNorm computes in float32 whatever it is given, so torch's nn.RMSNorm takes its place."""

from torch import nn
from transformers.models.llama.configuration_llama import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaDecoderLayer, LlamaMLP


def swiglu_hidden(dim, *, multiple_of=256, multiplier=None):
    # No function of the library, but the rule of its script that converts Meta's checkpoints.
    if dim < 1 or multiple_of < 1 or not (multiplier is None or multiplier > 0):
        raise ValueError(f"{dim}, {multiple_of}, {multiplier}")
    factor = 1 if multiplier is None else multiplier
    return multiple_of * ((int(factor * int(8 * dim / 3)) + multiple_of - 1) // multiple_of)


class SwiGLU(nn.Module):
    def __init__(self, dim, hidden):
        super().__init__()
        if dim < 1 or hidden < 1:
            raise ValueError(f"{dim}, {hidden}")
        self.gate = nn.Linear(dim, hidden, bias=False)
        self.up = nn.Linear(dim, hidden, bias=False)
        self.down = nn.Linear(hidden, dim, bias=False)
        mlp = LlamaMLP(LlamaConfig(hidden_size=dim, intermediate_size=hidden, num_attention_heads=1))
        mlp.gate_proj, mlp.up_proj, mlp.down_proj = self.gate, self.up, self.down
        self.layer = [mlp]  # in a list, so that its parameters are registered once, and not under other names

    def forward(self, x):
        return self.layer[0](x)


class Call(nn.Module):
    """What the layer takes for its attention: without the library's own arguments, and with a second result."""

    def __init__(self, attention, kwargs):
        super().__init__()
        self.attention, self.kwargs = attention, kwargs

    def forward(self, hidden_states, **of_the_library):
        return self.attention(hidden_states, **self.kwargs), None


class Block(nn.Module):
    def __init__(self, dim, hidden, attention, eps=1e-6):
        super().__init__()
        self.mlp, self.attention = SwiGLU(dim, hidden), attention
        self.norm1, self.norm2 = nn.RMSNorm(dim, eps), nn.RMSNorm(dim, eps)
        config = LlamaConfig(hidden_size=dim, intermediate_size=hidden, num_attention_heads=1, rms_norm_eps=eps)
        layer = LlamaDecoderLayer(config, 0)
        layer.input_layernorm, layer.post_attention_layernorm, layer.mlp = self.norm1, self.norm2, self.mlp
        self.layer = [layer]

    def forward(self, x, **kwargs):
        self.layer[0].self_attn = Call(self.attention, kwargs)
        return self.layer[0](x)
