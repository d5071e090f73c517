"""What can go wrong in the grader itself. None of it is ever a mark."""

from dojo.core.errors import UserError


class GraderFault(Exception):
    """The grader failed; the submission did not cause it. The text is a clause that says what happened."""


class CannotIsolate(GraderFault):
    """This system refuses a layer of the sandbox that it seems to have."""


class DidNotStart(GraderFault):
    """The fork server, which every job needs, did not start."""


class KilledFromOutside(GraderFault):
    """The fork server is gone. A submission can have ended it only where seccomp is off."""


def describe_fault(error: Exception) -> str:
    """What happened, as a clause. Of an exception that is none of ours, its class says most."""
    return str(error) if isinstance(error, GraderFault | UserError) else f"{type(error).__name__}: {error}"
