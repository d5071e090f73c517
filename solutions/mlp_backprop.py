"""Backpropagation through an MLP, by hand.

NumPy, no autograd: write an MLP with ReLU and a softmax loss. Forward, backward, a gradient check, and a training step.
Without a hidden layer it is logistic regression.

An MLP is a list of layers, from the first to the last; a layer is a pair (W, b) of arrays, W of shape [inputs, outputs]
and b of shape [outputs]. With h_0 = x, one sample a row:

    z_l = h_{l-1} W_l + b_l        h_l = max(z_l, 0)        logits = z_L: no ReLU after the last layer

    loss = the mean over the n samples of -log softmax(logits)[target]

The mean belongs to the loss, so the factor 1/n is in the loss's gradient with respect to the logits, and nowhere else. At
z = 0 exactly, the derivative of ReLU is taken as 0. (torch does the same; anything in [0, 1] is a subgradient.)

Numbers: params, x and logits of one call are all float32 or all float64, and the arrays that come back have that dtype.
Losses are Python floats. Targets are integers of any dtype, signed or not. Logits are finite, and may be as large as 1e4:
loss and gradient are then right as well, within some roundings of the largest logit. No argument is modified, and any of them may be a view. Arrays that come back
share no memory with an argument.

Rules: NumPy and the standard library. Autograd is forbidden in all its forms (torch.autograd, torch.func, requires_grad_,
.backward()).

Stage 1: the loss and its gradient, one layer, two layers, a step.  Stage 2: deep nets, zeros, small and empty batches, the
gradient check, wrong arguments.  Stage 3: random weights, huge logits, float32, views.  Stage 4: memory, no loop over samples.

Sources: Rumelhart, Hinton and Williams, "Learning representations by back-propagating errors" (1986); He et al., "Delving
Deep into Rectifiers" (2015), section 2.2, for the weights.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from jaxtyping import Float, Integer

Params = list[tuple[Float[np.ndarray, "inputs outputs"], Float[np.ndarray, " outputs"]]]


def init_params(sizes: Sequence[int], *, rng: np.random.Generator) -> Params:
    """Random layers for an MLP with these widths, of the inputs first and of the logits last; float64.

    Each weight is drawn by itself, with mean 0 and variance 2 / inputs, from a normal or a uniform distribution. Biases are
    0. Only rng is drawn from; which numbers it gives for what is free.
    Raises ValueError for fewer than two sizes, and for a size below 1.
    """
    # kata: begin
    if len(sizes) < 2 or min(sizes) < 1:
        raise ValueError(f"sizes {sizes} must be two positive numbers or more")
    # A ReLU halves the second moment of a layer; the 2 gives it back.
    return [(rng.normal(0, (2 / n) ** 0.5, (n, m)), np.zeros(m)) for n, m in pairwise(sizes)]
    # kata: end


def softmax_cross_entropy(
    logits: Float[np.ndarray, "n classes"], targets: Integer[np.ndarray, " n"]
) -> tuple[float, Float[np.ndarray, "n classes"]]:
    """The mean loss of the batch, and its gradient with respect to the logits.

    It holds at most 8 numbers for each logit at a time.
    Raises ValueError if logits are no matrix, if targets are not one for each row, if there is no row, and for a target
    outside [0, classes).
    """
    # kata: begin
    if logits.ndim != 2 or targets.shape != logits.shape[:1] or not len(targets):
        raise ValueError(f"logits {logits.shape} and targets {targets.shape} must be [n, classes] and [n] with n > 0")
    n, classes = logits.shape
    if targets.min() < 0 or targets.max() >= classes:
        raise ValueError(f"targets must be in [0, {classes})")
    rows = np.arange(n)
    shifted = logits - logits.max(axis=1, keepdims=True)  # the largest exponent of each row is 0
    log_probs = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    grad = np.exp(log_probs)
    grad[rows, targets] -= 1
    return float(-log_probs[rows, targets].mean()), grad / n
    # kata: end


def mlp_forward(params: Params, x: Float[np.ndarray, "n inputs"]) -> tuple[Float[np.ndarray, "n classes"], Any]:
    """(logits, cache). The cache is anything that mlp_backward needs; one forward pass must not change another's.

    n may be 0.
    Raises ValueError for no layers, if x is no matrix, and for shapes that do not fit together, also those that NumPy would
    broadcast: each b is [outputs] of its W, and each W has as many inputs as the layer before has outputs.
    """
    # kata: begin
    if not params or x.ndim != 2:
        raise ValueError(f"{len(params)} layers for x of shape {x.shape}")
    inputs = []  # of each layer; behind a ReLU, they also say where it let something through
    for number, (w, b) in enumerate(params):
        if b.ndim != 1 or w.shape != (x.shape[1], len(b)):
            raise ValueError(f"layer {number} with W {w.shape} and b {b.shape} does not fit inputs {x.shape}")
        inputs.append(x)
        logits = x @ w + b
        x = np.maximum(logits, 0)
    return logits, inputs
    # kata: end


def mlp_backward(
    params: Params, cache: Any, grad_logits: Float[np.ndarray, "n classes"]
) -> tuple[Params, Float[np.ndarray, "n inputs"]]:
    """(gradients, grad_x) of any loss whose gradient with respect to the logits is grad_logits.

    The gradients are a list like params: for each layer the pair (grad_W, grad_b), with the shapes of W and b. The cache
    is of mlp_forward with the same params. It is not modified, so a second call gives the same. n may be 0.

    A forward and a backward pass hold, at a time, at most 6 numbers for each parameter and for each number in x and in
    the outputs of all layers; so none of them may form an array [n, inputs, outputs]. Neither runs a Python loop over samples.
    Raises ValueError if grad_logits does not have the shape of the logits.
    """
    # kata: begin
    expected = (len(cache[0]), params[-1][0].shape[1])
    if grad_logits.shape != expected:
        raise ValueError(f"grad_logits {grad_logits.shape} must have the shape {expected} of the logits")
    grad, gradients = grad_logits, []
    for layer in reversed(range(len(params))):
        h = cache[layer]
        gradients.append((h.T @ grad, grad.sum(axis=0)))
        grad = grad @ params[layer][0].T
        if layer:  # h is behind a ReLU, but for x
            grad = grad * (h > 0)
    return gradients[::-1], grad
    # kata: end


def train_step(
    params: Params,
    x: Float[np.ndarray, "n inputs"],
    targets: Integer[np.ndarray, " n"],
    *,
    lr: float,
    weight_decay: float = 0.0,
) -> tuple[float, Params]:
    """(loss, new params) of one step of gradient descent on loss + weight_decay / 2 * (sum of all squared weights).

    Biases are not in the penalty. The loss that is returned is that of `params`, before the step and without the penalty.
    The new params are new arrays, of the dtype of the old ones.
    """
    # kata: begin
    logits, cache = mlp_forward(params, x)
    loss, grad_logits = softmax_cross_entropy(logits, targets)
    gradients, _ = mlp_backward(params, cache, grad_logits)
    steps = zip(params, gradients, strict=True)
    return loss, [(w - lr * (grad_w + weight_decay * w), b - lr * grad_b) for (w, b), (grad_w, grad_b) in steps]
    # kata: end


def gradient_check(
    loss: Callable[[], float],
    array: Float[np.ndarray, "*shape"],
    gradient: Float[np.ndarray, "*shape"],
    eps: float = 1e-5,
) -> float:
    """The largest relative error of `gradient`, over all elements of `array`; 0.0 if there are none.

    The loss depends on `array`, which it reads when it is called. For each element, the central difference a with the steps
    +eps and -eps is compared with the gradient's element g: the relative error is |a - g| / max(|a|, |g|, 1e-8). If
    one of the two is NaN, so is the result. The array is changed in place, one element at a time, and has its bits back at
    the end. It may be float32 or float64, of any shape, and a view; the loss is called twice for each element.
    Raises ValueError if the shapes differ, or if eps is not above 0.
    """
    # kata: begin
    if array.shape != gradient.shape or not eps > 0:
        raise ValueError(f"array {array.shape} and gradient {gradient.shape} must have one shape, and eps {eps} be > 0")
    errors = [0.0]
    for place in np.ndindex(array.shape):
        value = array[place]
        array[place] = value + eps
        above = loss()
        array[place] = value - eps
        below = loss()
        array[place] = value  # as it was: adding eps again would round
        slope, given = (above - below) / (2 * eps), float(gradient[place])
        errors.append(abs(slope - given) / max(abs(slope), abs(given), 1e-8))
    return float(np.max(errors))  # of NaN, max() would lose sight
    # kata: end
