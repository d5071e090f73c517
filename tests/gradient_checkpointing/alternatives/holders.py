"""Hooks whose numbers are objects: what was collected is gone as soon as the graph lets go of its holder. The second run
stops when the last tensor is there."""

import contextlib
import weakref
from functools import partial

import torch
from torch import nn
from torch.autograd.graph import saved_tensors_hooks


class Holder:
    pass


class Enough(Exception):
    pass


class Frame:
    def __init__(self, function, args):
        self.function, self.args = function, args
        self.random = torch.get_rng_state(), torch.cuda.get_rng_state_all()
        self.autocast = torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu")
        self.on_cuda = torch.is_autocast_enabled("cuda"), torch.get_autocast_dtype("cuda")
        self.holders, self.values = [], weakref.WeakKeyDictionary()

    def pack(self, x):
        holder = Holder()
        self.holders.append(weakref.ref(holder))
        return holder

    def unpack(self, holder):
        if holder not in self.values:
            self.again()
        return self.values.pop(holder)

    def again(self):
        places = iter(self.holders)

        def collect(x):
            holder = next(places)()
            if holder is not None:
                self.values[holder] = x.detach()
            if places.__length_hint__() == 0:
                raise Enough
            return x.detach()

        (on, dtype), (cuda_on, cuda_dtype) = self.autocast, self.on_cuda
        args = [a.detach().requires_grad_(a.requires_grad) if isinstance(a, torch.Tensor) else a for a in self.args]
        before = torch.get_rng_state(), torch.cuda.get_rng_state_all()
        try:
            torch.set_rng_state(self.random[0])
            torch.cuda.set_rng_state_all(self.random[1])
            with (
                torch.enable_grad(),
                torch.autocast("cpu", dtype, on),
                torch.autocast("cuda", cuda_dtype, cuda_on),
                saved_tensors_hooks(collect, lambda x: x),
                contextlib.suppress(Enough),
            ):
                self.function(*args)
        finally:
            torch.set_rng_state(before[0])
            torch.cuda.set_rng_state_all(before[1])


def checkpoint(function, *args):
    frame = Frame(function, args)
    with saved_tensors_hooks(frame.pack, frame.unpack):
        return function(*args)


def checkpoint_sequential(layers, segments, x):
    if segments not in range(1, len(layers) + 1):
        raise ValueError("segments")
    groups = [chunk.tolist() for chunk in torch.arange(len(layers)).tensor_split(segments)]
    for group in groups:
        x = partial(checkpoint, nn.Sequential(*[layers[i] for i in group]))(x)
    return x


def best_segments(layers):
    if layers < 1:
        raise ValueError("layers")
    peaks = {s: s + (layers + s - 1) // s for s in range(1, layers + 1)}
    return min(s for s, peak in peaks.items() if peak == min(peaks.values()))
