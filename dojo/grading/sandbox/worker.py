"""Inside the cage: loads the submission, runs the probe on it case by case, and sends what was seen.

Nothing here knows an expected value, a seed or a score: a submission that rewrites all of it can only send other evidence.
"""

import sys
import types
import warnings
from typing import Any

from dojo.grading.sandbox import pipe
from dojo.testing import codec, probes


def serve(inbox: int, outbox: int) -> None:
    """First the probe, then a kata's text and its cases, until the grader closes the pipe.

    A submission is alone in its process; only texts that the grader trusts follow one another.
    """
    warnings.simplefilter("ignore")
    pipe.send(outbox, {"fenced": True})  # while nothing of a stranger's is here that could say it
    try:
        job = pipe.receive(inbox, codec.Limits())
        module = probes.load_module(f"probe_{job['kata']}", job["probe"].decode(), f"<probe {job['kata']}>")
        probe = probes.Probe(module.cases, module.run)
        kept = [_remove(name) for name in job["banned"]]
        kata = None
        while True:
            asked = pipe.receive(inbox, codec.Limits())
            if "source" in asked:
                kata, trouble = _load(job["kata"], asked["source"].decode())
                pipe.send(outbox, {"nonce": asked["nonce"], "trouble": trouble})
                continue
            case = probes.Case(asked["name"], of=asked["of"], **asked["inputs"])
            pipe.send(outbox, {"nonce": asked["nonce"], "seen": _see(probe, kata, case, asked["noise"])})
    except pipe.Silence:
        del kept


def _load(kata: str, source: str) -> tuple[Any, Any]:
    try:
        return probes.load_module(kata, source, f"{probes.KATA_FILE}{kata}>"), None
    except BaseException as error:
        return None, _raised(error)


def _see(probe: probes.Probe, kata: Any, case: probes.Case, noise: int) -> Any:
    try:
        seen = probes.observe(probe, kata, case, noise)
        codec.encode({"nonce": 16 * "0", "seen": seen})  # as it will be sent
        return seen
    except BaseException as error:  # KeyboardInterrupt too, and evidence that cannot be sent
        return {"raised": _raised(error)}


def _raised(error: BaseException) -> probes.Raised:
    name = type(error).__name__
    return probes.Raised(name, isinstance(error, ValueError), probes.is_unwritten(error), probes.note_of(error))


def _remove(name: str) -> Any:
    """Takes an operator of torch or, with a dot in it, a module away: every way to spell it raises."""
    return _remove_module(name) if "." in name else _remove_operator(name)


def _remove_module(name: str) -> None:
    def refuse(_: str) -> Any:
        raise RuntimeError(f"this kata does not allow {name}; write it yourself (see the kata's rules)")

    closed = types.ModuleType(name)
    closed.__getattr__ = refuse  # type: ignore[method-assign]
    parent, _, leaf = name.rpartition(".")
    sys.modules[name] = closed
    setattr(sys.modules[parent], leaf, closed)


def _remove_operator(operator: str) -> Any:
    import torch

    def refuse(*_: Any, **__: Any) -> Any:
        raise RuntimeError(f"this kata does not allow {operator}; write it out (see the kata's rules)")

    library = torch.library.Library("aten", "IMPL")
    for overload in getattr(torch.ops.aten, operator).overloads():
        name = operator if overload == "default" else f"{operator}.{overload}"
        for key in ("CPU", "AutogradCPU"):
            library.impl(name, refuse, key)
    return library
