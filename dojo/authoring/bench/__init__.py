"""`kata dev bench`: how fast the references are, beside the naive way, the learner's own code and other libraries.

`command` starts a `worker` process for each number of threads, which times the works of a bench file with `timing` and
describes the `machine`. `results` is the data that both share; `table` and `plot` show it. Only workers import torch.
"""
