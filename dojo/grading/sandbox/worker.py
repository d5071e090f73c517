"""Runs in the isolated process: loads the submission, runs the probe on it case by case, and sends the evidence.

This process holds no expected value, no seed and no score. A submission that rewrites all of its code can only change
the evidence that it sends.
"""

import sys
import types
import warnings
from typing import Any

from dojo.grading.sandbox import pipe
from dojo.testing import codec, probes

INPUTS = codec.Limits(inputs=True)  # what the grader sends may hold tuples and views


def serve(inbox: int, outbox: int) -> None:
    """Answers the grader's requests until it closes the pipe: first the probe, then sources and their cases.

    A submission has this process for itself; several sources are loaded only if the grader trusts all of them.
    """
    warnings.simplefilter("ignore")
    pipe.send(outbox, {"isolated": True})  # before the submission is here, which could send the same
    try:
        job = pipe.receive(inbox, INPUTS)
        module = probes.load_module(f"probe_{job['kata']}", job["probe"].decode(), f"<probe {job['kata']}>")
        probe = probes.Probe(module.cases, module.run)
        _libraries = [_ban(name) for name in job["banned"]]  # held: an operator comes back when its library is deleted
        kata = None
        while True:
            request = pipe.receive(inbox, INPUTS)
            if "source" in request:
                kata, error = _load(job["kata"], request["source"].decode())
                pipe.send(outbox, {"nonce": request["nonce"], "error": error})
                continue
            case = probes.Case(request["name"], of=request["of"], **request["inputs"])
            pipe.send(outbox, {"nonce": request["nonce"], "evidence": _observe(probe, kata, case, request["noise"])})
    except pipe.Closed:
        return


def _load(kata: str, source: str) -> tuple[Any, Any]:
    """The kata's module and None, or None and the exception that its import raised.

    It is called as in practice, and is in sys.modules: pickle, `typing.get_type_hints` and `inspect` look there.
    """
    name, file = f"katas.{kata}", f"{probes.KATA_FILE}{kata}>"
    sys.modules.setdefault("katas", types.ModuleType("katas"))  # pickle imports the package of a class
    try:
        return probes.load_module(name, source, file, keep=True), None
    except BaseException as error:
        return None, probes.raised_by(error)


def _observe(probe: probes.Probe, kata: Any, case: probes.Case, noise: int) -> Any:
    try:
        evidence = probes.observe(probe, kata, case, noise)
        codec.encode({"nonce": 16 * "0", "evidence": evidence})  # fails here, not when it is sent
        return evidence
    except BaseException as error:  # KeyboardInterrupt too, and evidence that cannot be sent
        return {"raised": probes.raised_by(error)}


def _ban(name: str) -> Any:
    """Removes an operator of torch or, if the name has a dot, a module: every way to call it raises RuntimeError."""
    return _ban_module(name) if "." in name else _ban_operator(name)


def _ban_module(name: str) -> None:
    def refuse(_: str) -> Any:
        raise RuntimeError(f"this kata does not allow {name}; write it yourself (see the kata's rules)")

    empty = types.ModuleType(name)
    empty.__getattr__ = refuse  # type: ignore[method-assign]
    parent, _, leaf = name.rpartition(".")
    sys.modules[name] = empty
    if parent in sys.modules:  # otherwise an import of the parent finds the module above
        setattr(sys.modules[parent], leaf, empty)


def _ban_operator(operator: str) -> Any:
    import torch

    def refuse(*_: Any, **__: Any) -> Any:
        raise RuntimeError(f"this kata does not allow {operator}; write it out (see the kata's rules)")

    packet = getattr(torch.ops.aten, operator, None)
    if packet is None:  # a function in Python, such as relu6; the look at the source has refused it
        return None
    library: Any = torch.library.Library("aten", "IMPL")  # type: ignore[no-untyped-call]  # torch's own
    for overload in packet.overloads():
        name = operator if overload == "default" else f"{operator}.{overload}"
        for key in ("CPU", "AutogradCPU"):
            library.impl(name, refuse, key)
    return library
