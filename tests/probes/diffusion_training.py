"""What can be seen of diffusion training: embeddings, what the loss shows the model and asks of it, averaged modules.
The noise is not known here: the gradient of the loss by the model's answer tells what the answer should have been."""

import copy

import torch
from torch import nn

from dojo.probes import Case, Draws
from dojo.testing import randn

ABAR = torch.tensor([0.9, 0.64, 0.36, 0.1], dtype=torch.float64)


def cases(rng):
    for dim, max_period in ((2, 10000), (6, 10000), (7, 10000), (8, 100), (1, 10000), (0, 10000)):
        t = torch.tensor([0, 1, 2, 5, 333])
        yield Case(
            f"embedding {dim} {max_period}", of="timestep_embedding", kind="embedding", inputs=(t, dim, max_period)
        )
    for t in (torch.tensor(3), torch.tensor([[1, 2], [3, 4]])):
        yield Case(f"embedding of {list(t.shape)}", of="timestep_embedding", kind="embedding", inputs=(t, 4, 10000))
    randn(rng, 7)  # the global stream has the seed of `rng`: without this, noise that is drawn first would equal x0
    for kind in ("task", "error", "steps", "noise", "generator", "dtypes", "strides"):
        yield Case(f"loss {kind}", of="ddpm_loss", kind=kind, x0=3 * randn(rng, 64, 8))
    for decay in (0.0, 0.9, 1.0, 1.5, -0.5, float("nan")):
        yield Case(f"ema {decay}", of="ema_update", kind="update", decay=decay)
    for pair in ((torch.float64, torch.bfloat16), (torch.bfloat16, torch.bfloat16)):
        yield Case(f"ema in {pair[0]} of {pair[1]}", of="ema_update", kind="kinds", pair=pair)
    yield Case("ema of another make", of="ema_update", kind="mismatch")


def run(kata, case):
    return globals()[f"see_{case.kind}"](kata, case)


def see_embedding(kata, case):
    """Rounded to half precision: angles in float32 differ by more than float32's own digits."""
    t, *rest = case.inputs
    t = t.clone()
    out = kata.timestep_embedding(t, *rest)
    return {"dtype": str(out.dtype), "out": out.half(), "t": t}


def see_task(kata, case):
    """x_t as a sum of x0 and of the loss's gradient by an answer of zeros, for each t: two weights and what is left."""
    x0, answer, shown = case.x0.clone(), torch.zeros_like(case.x0, requires_grad=True), []

    def model(x, t):
        shown.append((x.detach().clone(), t.clone()))
        return answer

    loss = kata.ddpm_loss(model, x0, ABAR)
    seen = {"calls": [[list(x.shape), str(t.dtype), list(t.shape)] for x, t in shown], "x0": x0}
    if not loss.requires_grad:
        return {**seen, "gradient": "none"}
    (gradient,) = torch.autograd.grad(loss, answer)
    x, t = shown[0]
    for step in range(4):
        if gradient.shape != x.shape or not (t == step).any():
            continue
        columns = torch.stack([x0[t == step].flatten(), gradient[t == step].flatten()], 1)
        weights = torch.linalg.pinv(columns) @ x[t == step].flatten()
        fits = bool((columns @ weights - x[t == step].flatten()).abs().max() < 1e-6)
        seen[f"t={step}"] = {"fits": fits, "weights": weights if fits else "none"}
    return seen


def see_error(kata, case):
    """At abar = 0 all that is shown is noise, so an answer can be off by a known error."""
    wrong = torch.linspace(-1, 2, 64 * 8, dtype=torch.float64).reshape(64, 8)
    loss = kata.ddpm_loss(lambda x, t: x + wrong, torch.zeros_like(case.x0), ABAR[:1] * 0)
    return {"loss": loss, "shape": list(loss.shape)}


def see_steps(kata, case):
    shown = []
    for _ in range(3):
        kata.ddpm_loss(lambda x, t: shown.append(t.clone()) or x * 0, torch.zeros(1000, 1).double(), ABAR)
    return {"t": Draws(torch.cat(shown).flatten(), 4), "same": len(set(shown[0].flatten().tolist())) == 1}


def see_noise(kata, case):
    shown = []
    for _ in range(2):
        kata.ddpm_loss(lambda x, t: shown.append(x) or x * 0, torch.zeros(40, 100).double(), ABAR[:1] * 0)
    bins = [Draws((x * 2 + 8).nan_to_num(-1).floor().clamp(0, 15).long(), 16) for x in shown]
    rows = shown[0][:2]
    alike = {"rows": bool((rows[0] - rows[1]).abs().max() < 1e-6), "within": bool(rows.std(-1).max() < 1e-6)}
    return {"noise": bins, **alike, "calls": bool(torch.equal(*shown))}


def see_generator(kata, case):
    def sample(seed):
        shown = []
        generator = torch.Generator().manual_seed(seed)
        kata.ddpm_loss(lambda x, t: shown.append([x, t]) or x * 0, case.x0, ABAR, generator=generator)
        return shown[0]

    before = torch.random.get_rng_state()
    first, again, other = sample(1), sample(1), sample(2)
    untouched = torch.equal(before, torch.random.get_rng_state())
    repeats, changes = ([bool(torch.equal(a, b)) for a, b in zip(first, two, strict=True)] for two in (again, other))
    return {"repeats": repeats, "changes": changes, "untouched": untouched}


def see_dtypes(kata, case):
    seen = {}
    for dtype in (torch.bfloat16, torch.float32):
        shown = []
        x0, abar = torch.zeros(40, 100, dtype=dtype), torch.full((2,), 0.9999, dtype=torch.float64)
        loss = kata.ddpm_loss(lambda x, t, shown=shown: shown.append(x) or x * 0, x0, abar)
        seen[str(dtype)] = [str(loss.dtype), str(shown[0].dtype), bool(shown[0].any())]
    return seen


def see_strides(kata, case):
    x0 = case.x0.reshape(8, 4, 4, 4).to(memory_format=torch.channels_last)
    shown = []
    kata.ddpm_loss(lambda x, t: shown.append(list(x.shape)) or x * 0, x0, ABAR.repeat_interleave(2)[::2])
    return {"shapes": shown}


class Net(nn.Module):
    def __init__(self, dtype=torch.float64):
        super().__init__()
        self.first = nn.Linear(3, 3, dtype=dtype)
        self.norm = nn.BatchNorm1d(3, dtype=dtype)
        self.last = nn.Linear(3, 3, dtype=dtype)
        self.last.weight = self.first.weight
        self.count = nn.Parameter(torch.tensor([1, 2]), requires_grad=False)
        self.register_buffer("table", torch.zeros(2, dtype=dtype), persistent=False)
        with torch.no_grad():
            for i, tensor in enumerate((*self.parameters(), *self.buffers()), 1):
                tensor.copy_(torch.arange(tensor.numel()).reshape(tensor.shape) + i)


def tensors(net):
    return [*net.parameters(), *net.buffers()]


def shifted(net, by, dtype=None):
    other = copy.deepcopy(net).to(dtype)
    with torch.no_grad():
        for tensor in tensors(other):
            tensor += by
    return other


def see_update(kata, case):
    """Both modules afterwards; what old references see; and whether the two share memory."""
    ema = Net().eval()
    model = shifted(ema, 4).train()
    model.norm.weight.requires_grad_(False)
    objects, held = tensors(ema), [tensor.detach() for tensor in tensors(ema)]
    kata.ema_update(ema, model, case.decay)
    flags = [[p.requires_grad, p.is_leaf, p.grad is None] for p in ema.parameters()]
    seen = {
        "ema": [tensor.detach().clone() for tensor in tensors(ema)],
        "flags": flags,
        "mode": [ema.training, model.training],
    }
    seen["same objects"] = [a is b for a, b in zip(objects, tensors(ema), strict=True)]
    with torch.no_grad():
        for tensor in tensors(model):
            tensor += 1
    return {**seen, "held": held, "later": list(tensors(ema)), "model": list(tensors(model))}


def see_kinds(kata, case):
    ema = nn.Linear(2, 2, dtype=case.pair[0])
    nn.init.constant_(ema.weight, 1.0)
    nn.init.constant_(ema.bias, 1.0)
    kata.ema_update(ema, shifted(ema, 1, case.pair[1]), 0.999)
    return {"after": list(ema.parameters())}


def see_mismatch(kata, case):
    kata.ema_update(nn.Sequential(nn.Linear(2, 2)), nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)), 0.5)
    return {"raised": False}
