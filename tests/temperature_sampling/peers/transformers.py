"""transformers' TemperatureLogitsWarper before a softmax. It only divides, so widening, T = 0 and draws are the caller's."""

import torch
from transformers import TemperatureLogitsWarper


def _warped(logits, temperature):
    return TemperatureLogitsWarper(float(temperature))(None, logits.double())


def temperature_probs(logits, temperature):
    if not temperature >= 0:
        raise ValueError("temperature >= 0 is needed")
    if temperature == 0:
        return torch.nn.functional.one_hot(logits.argmax(-1), logits.shape[-1]).to(logits.dtype)
    return _warped(logits, temperature).softmax(-1).to(logits.dtype)


def sample_token(probs, *, generator=None):
    return torch.multinomial(probs.reshape(-1, probs.shape[-1]), 1, generator=generator).reshape(probs.shape[:-1])


def gumbel_sample(logits, temperature=1.0, *, generator=None):
    if not temperature >= 0:
        raise ValueError("temperature >= 0 is needed")
    if temperature == 0:
        return logits.argmax(-1)
    uniform = torch.rand(logits.shape, dtype=torch.float64, generator=generator)
    return (_warped(logits, temperature) - (-uniform.log()).log()).argmax(-1)
