"""transformers: Llama's half-split pairs and GPT-J's interleaved ones."""

import torch
from transformers import LlamaConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS
from transformers.models.gptj.modeling_gptj import rotate_every_two
from transformers.models.llama.modeling_llama import rotate_half


def inverse_frequencies(dim, base=10000.0, *, scaling="none", factor=1.0):
    """The library's are float32, so that only its linear factor is taken from it."""
    if dim < 2 or dim % 2 or base <= 0 or factor < 1 or scaling not in ("none", "linear", "ntk"):
        raise ValueError("arguments")
    if scaling == "ntk" and dim > 2:
        base *= factor ** (dim / (dim - 2))
    frequencies = 1.0 / base ** (torch.arange(0, dim, 2, dtype=torch.float64) / dim)
    if scaling != "linear":
        return frequencies
    rope = {"rope_type": "linear", "rope_theta": base, "factor": factor}
    config = LlamaConfig(hidden_size=dim, num_attention_heads=1, head_dim=dim, rope_parameters=rope)
    config.standardize_rope_params()
    scaled, _ = ROPE_INIT_FUNCTIONS["linear"](config, torch.device("cpu"))
    torch.testing.assert_close(scaled.double(), frequencies / factor, rtol=1e-5, atol=0.0)
    return frequencies / factor


def rotate(x, positions, frequencies, *, interleaved):
    width = 2 * len(frequencies)
    if width > x.shape[-1]:
        raise ValueError("frequencies")
    angles = positions[..., None].float() * frequencies.float()
    angles = angles.repeat_interleave(2, -1) if interleaved else torch.cat([angles, angles], -1)
    cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
    head = x[..., :width]
    partner = rotate_every_two(head.reshape(-1, 1, 1, width)).reshape(head.shape) if interleaved else rotate_half(head)
    return torch.cat([head * cos + partner * sin, x[..., width:]], -1)


def to_half_split(weight, heads):
    """As transformers' conversion of Llama's checkpoints permutes queries and keys."""
    check(weight, heads)
    return weight.view(heads, -1, 2, *weight.shape[1:]).transpose(1, 2).reshape(weight.shape)


def to_interleaved(weight, heads):
    check(weight, heads)
    return weight.view(heads, 2, -1, *weight.shape[1:]).transpose(1, 2).reshape(weight.shape)


def check(weight, heads):
    if heads < 1 or len(weight) % (2 * heads):
        raise ValueError("heads")
