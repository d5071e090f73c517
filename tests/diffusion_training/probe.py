"""What can be seen of diffusion training: embeddings, what the loss shows the model and asks of it, averaged modules.
The noise is not known here: the gradient of the loss by the model's answer tells what the answer should have been."""

import copy

import torch
from torch import nn

from dojo.testing import randint, randn
from dojo.testing.probes import Case, Draws, Pairs
from dojo.testing.sampling import uniform


def cases(rng):
    for dim, max_period in ((2, 10000), (6, 10000), (7, 10000), (8, 100), (1, 10000), (0, 10000)):
        t = torch.cat([torch.tensor([0, 1]), randint(rng, 2, 500, 3)])
        period = max_period if max_period == 10000 else int(randint(rng, 50, 200, 1))
        yield Case(f"embedding {dim} {max_period}", of="timestep_embedding", kind="embedding", inputs=(t, dim, period))
    for t in (torch.tensor(3), torch.tensor([[1, 2], [3, 4]])):
        yield Case(f"embedding of {list(t.shape)}", of="timestep_embedding", kind="embedding", inputs=(t, 4, 10000))
    randn(rng, 7)  # the global stream has the seed of `rng`: without this, noise that is drawn first would equal x0
    for kind in ("task", "error", "steps", "noise", "generator", "dtypes", "strides"):
        abar = torch.tensor([0.9, 0.64, 0.36, 0.1], dtype=torch.float64) + uniform(rng, -0.05, 0.05, 4)
        yield Case(f"loss {kind}", of="ddpm_loss", kind=kind, x0=3 * randn(rng, 64, 8), abar=abar)
    for decay in (0.0, 0.9, 1.0, 1.5, -0.5, float("nan")):
        used = decay if decay != 0.9 else uniform(rng, 0.5, 0.95, 1).item()
        yield Case(f"ema {decay}", of="ema_update", kind="update", decay=used, seed=int(randint(rng, 0, 2**60, 1)))
    for pair, decay in (((torch.float64, torch.bfloat16), 0.999), ((torch.bfloat16, torch.bfloat16), 0.5)):
        inputs = {"pair": pair, "decay": decay, "values": uniform(rng, 1, 2, 9)}
        yield Case(f"ema in {pair[0]} of {pair[1]}", of="ema_update", kind="kinds", **inputs)
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

    loss = kata.ddpm_loss(model, x0, case.abar)
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
    loss = kata.ddpm_loss(lambda x, t: x + case.x0, torch.zeros_like(case.x0), case.abar[:1] * 0)
    return {"loss": loss, "shape": list(loss.shape)}


def see_steps(kata, case):
    """How often each t is drawn, from a number of steps that differs with the seed."""
    shown, steps = [], 3 + int(case.abar[0] * 1e6) % 5
    abar = torch.linspace(0.9, 0.1, steps, dtype=torch.float64)
    for _ in range(3):
        kata.ddpm_loss(lambda x, t: shown.append(t.clone()) or x * 0, torch.zeros(1000, 1).double(), abar)
    return {"t": Draws(torch.cat(shown).flatten(), 8), "all the same": Pairs(shown[0][1:], shown[0][:-1])}


def histogram(x, width):
    """In 16 bins of `width` around 0; NaN goes to the first."""
    return Draws((x.double() / width + 8).nan_to_num(-1).floor().clamp(0, 15).long(), 16)


def see_noise(kata, case):
    """x0 is one number, so x_t is noise around a known mean. Whose signs agree too often is not drawn for itself."""
    shown, level, a = [], case.x0[0, 0].clamp(-2, 2), case.abar[2:3]
    for _ in range(2):
        kata.ddpm_loss(lambda x, t: shown.append(x) or x * 0, torch.zeros(40, 100).double() + level, a)
    up = (shown[0] > a.sqrt() * level).long()
    rows, within = (
        Draws((2 * one + other).flatten(), 4) for one, other in ((up[::2], up[1::2]), (up[:, ::2], up[:, 1::2]))
    )
    return {"noise": [histogram(x, 0.5) for x in shown], "rows": rows, "within": within, "calls": Pairs(*shown)}


def see_generator(kata, case):
    def sample(seed):
        shown = []
        generator = torch.Generator().manual_seed(seed)
        kata.ddpm_loss(lambda x, t: shown.append([x, t]) or x * 0, case.x0, case.abar, generator=generator)
        return shown[0]

    before = torch.random.get_rng_state()
    first, again, other = sample(1), sample(1), sample(2)
    untouched = Pairs(before, torch.random.get_rng_state())
    repeats, changes = ([Pairs(a, b) for a, b in zip(first, two, strict=True)] for two in (again, other))
    return {"repeats": repeats, "changes": changes, "untouched": untouched}


def see_dtypes(kata, case):
    """Dtypes, and how much noise there is where 1 - abar is small: in half precision abar itself would be 1."""
    seen = {}
    for dtype in (torch.bfloat16, torch.float32):
        shown = []
        x0, abar = torch.zeros(40, 100, dtype=dtype), 1 - 6e-4 * case.abar[3].expand(2)
        loss = kata.ddpm_loss(lambda x, t, shown=shown: shown.append(x) or x * 0, x0, abar)
        seen[str(dtype)] = [str(loss.dtype), str(shown[0].dtype), histogram(shown[0], 0.004)]
    return seen


def see_strides(kata, case):
    """Pictures and a schedule that are not contiguous; at abar = 1 the model is shown x0 itself."""
    x0 = case.x0.reshape(8, 4, 4, 4).to(memory_format=torch.channels_last)
    shown = []
    for abar in (case.abar, torch.ones(4, dtype=torch.float64)):
        kata.ddpm_loss(lambda x, t: shown.append(x) or x * 0, x0, abar.repeat_interleave(2)[::2])
    return {"shapes": [list(x.shape) for x in shown], "x0": shown[-1]}


class Net(nn.Module):
    """Layers that share a weight, a buffer of whole numbers, and a buffer that is not saved."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(3, 3, dtype=torch.float64)
        self.norm = nn.BatchNorm1d(3, dtype=torch.float64)
        self.last = nn.Linear(3, 3, dtype=torch.float64)
        self.last.weight = self.first.weight
        self.register_buffer("table", torch.zeros(2, dtype=torch.float64), persistent=False)
        with torch.no_grad():
            for tensor in tensors(self):
                tensor.zero_()


def tensors(net):
    return [*net.parameters(), *net.buffers()]


def moved(net, seed):
    """A copy, each of whose numbers is larger by at least 1."""
    other, rng = copy.deepcopy(net), torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in tensors(other):
            by = 1 + 4 * torch.rand(tensor.shape, generator=rng, dtype=torch.float64)
            tensor += by if tensor.is_floating_point() else by.round().long()
    return other


def see_update(kata, case):
    """Both modules afterwards; what old references see; and whether the two share memory."""
    ema = moved(Net(), case.seed).eval()
    model = moved(ema, case.seed + 1).train()
    model.norm.weight.requires_grad_(False)
    ema.norm.bias.requires_grad_(False)
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
    ema, model = (nn.Linear(2, 2, dtype=dtype) for dtype in case.pair)
    with torch.no_grad():
        for number, (a, b) in enumerate(zip(ema.parameters(), model.parameters(), strict=True)):
            a.copy_(case.values[4 * number : 4 * number + a.numel()].reshape(a.shape))
            b.copy_(a + 1)
    kata.ema_update(ema, model, case.decay)
    return {"after": list(ema.parameters())}


def see_mismatch(kata, case):
    kata.ema_update(nn.Sequential(nn.Linear(2, 2)), nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)), 0.5)
    return {"raised": False}
