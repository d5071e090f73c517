"""The functions by name, what their backward passes keep, torch's own to compare with, and what stands in the file."""

import ast
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from dojo.testing import called_for, expect, randn
from dojo.testing.checks import Wrong
from katas import activations

TANH = "tanh gelu"  # of gelu with approximate="tanh"
NAMES = ("relu", "sigmoid", "softplus", "silu", "gelu", TANH)
KEEP_OUT = NAMES[:3]
TORCH = {name: getattr(F, name) for name in ("relu", "silu", "gelu")}
TORCH |= {"sigmoid": torch.sigmoid, "softplus": F.softplus, TANH: lambda x: F.gelu(x, approximate="tanh")}


def split(name):
    """The name of the kata's function, and its options."""
    return ("gelu", {"approximate": "tanh"}) if name == TANH else (name, {})


def label(name, suffix=""):
    """`gelu_backward(..., approximate='tanh')` in a sentence."""
    function, options = split(name)
    return f"{function}{suffix}" + (" with approximate='tanh'" if options else "")


def tensor(result, what):
    """`result`, after a look at whether it is a tensor."""
    expect(isinstance(result, Tensor), f"{what} should return a tensor, but gave a {type(result).__name__}")
    return result


def forward(name, x):
    """The kata's function of that name at x, without autograd."""
    function, options = split(name)
    with torch.inference_mode(), called_for(f"x of shape {list(x.shape)} in {x.dtype}"):
        return tensor(getattr(activations, function)(x, **options), label(name)).clone()


def backward(name, grad, kept):
    """The kata's backward function of that name, without autograd."""
    function, options = split(name)
    with torch.inference_mode(), called_for(f"tensors of shape {list(kept.shape)} in {kept.dtype}"):
        return tensor(getattr(activations, function + "_backward")(grad, kept, **options), label(name, "_backward"))


def keeps(name, x):
    """What the backward pass needs of the forward pass at x: torch's result, or x itself."""
    return TORCH[name](x) if name in KEEP_OUT else x


def torch_slope(name, x):
    """The derivative of torch's own function at x, by autograd in float64."""
    leaf = x.detach().double().requires_grad_()
    return torch.autograd.grad(TORCH[name](leaf).sum(), leaf)[0]


def some(rng, *shape, dtype=torch.float64):
    """Standard normal numbers, also of shape []."""
    return randn(rng, 1, *shape, dtype=dtype)[0]


def swiglu(gate, up):
    """The kata's swiglu, without autograd."""
    with torch.inference_mode():
        return tensor(activations.swiglu(gate, up), "swiglu")


def swiglu_backward(grad, gate, up):
    """The two gradients of the kata's swiglu_backward, after a look at how many there are."""
    with torch.inference_mode():
        got = activations.swiglu_backward(grad, gate, up)
    kind = f"{len(got)} results" if isinstance(got, tuple | list) else f"a {type(got).__name__}"
    right = isinstance(got, tuple | list) and len(got) == 2
    expect(right, f"swiglu_backward should return (grad_gate, grad_up), but gave {kind}")
    return [tensor(each, f"swiglu_backward, for {of}") for each, of in zip(got, ("grad_gate", "grad_up"), strict=True)]


def units(got, want):
    """How far each number of `got` is from the float64 numbers `want`, in units in the last place of its dtype."""
    about = torch.finfo(got.dtype)
    unit = torch.exp2(want.frexp().exponent - 1.0).clamp(min=about.smallest_normal) * about.eps
    return (got.double() - want).abs() / unit


def expect_rounded_once(got, want, what, hint):
    """`got` is the dtype's number next to `want` (float64), or nearly: a half unit off, and a tenth for float32."""
    worst = units(got, want).max().item()
    sentence = f"{what} should be off by 0.6 units in the last place at most, but is off by {worst:.2f}"
    expect(worst <= 0.6, sentence, hint=hint)


def expect_no_methods(kata, forbidden):
    """No attribute in the file of `kata` has a name of a forbidden operator: torch.sigmoid, x.sigmoid(), F.silu.

    expect_own_work takes a name that the file itself defines for the file's own, and here all of them are.
    """
    tree = ast.parse(Path(str(kata.__file__)).read_text(encoding="utf-8"))
    classes = {node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}
    own, modules, called = {"self", "cls"} | classes, set(), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign | ast.AnnAssign) and is_made_of(classes, node.value):
            own |= {
                each.id for each in ast.walk(node) if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store)
            }
        elif isinstance(node, ast.Import | ast.ImportFrom):
            modules |= {(alias.asname or alias.name).partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.Call):
            called.add(node.func)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in forbidden:
            of = node.value.id if isinstance(node.value, ast.Name) else ""
            is_field = of and of not in modules and node not in called  # parts.sigmoid, of a named tuple
            if not (of in own or is_field or is_made_of(classes, node.value)):
                sentence = f"line {node.lineno} uses .{node.attr}, which this kata's rules forbid; write it yourself"
                raise Wrong(sentence)


def is_made_of(classes, node):
    """Whether an expression makes an object of one of the `classes`."""
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in classes
