"""Imports the reference from the checkout.

reason: ModuleNotFoundError
"""

import os

import torch

system = vars(torch)["sys"]
system.path.insert(0, os.path.dirname(os.path.dirname(system.modules["dojo"].__file__)))
globals().update(vars(vars(torch)["importlib"].import_module("solutions.noise_schedules")))
