"""Leaves a note in the modules and in its folder, ends itself, and looks for the note in its next process.

reason: it ended the process (exit code 0)
"""

import os

import torch

probes = vars(torch)["sys"].modules["dojo.testing.probes"]
if hasattr(probes, "note") or os.path.exists("note"):
    raise RuntimeError("GOT IT: a note of an earlier process")


def attack(*_, **__):
    probes.note = True
    open("note", "w").close()
    getattr(os, "_exit")(0)


linear_betas = cosine_betas = alphas_cumprod = snr = attack
