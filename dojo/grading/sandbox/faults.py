"""What can go wrong in the grader itself. None of it is ever a mark."""


class GraderFault(Exception):
    """The grader failed; the submission did not cause it. The text is a clause that says what happened."""


class CannotIsolate(GraderFault):
    """This system refuses a layer of the sandbox that it seems to have."""


class DidNotStart(GraderFault):
    """The fork server, which every job needs, did not start."""


class KilledFromOutside(GraderFault):
    """The fork server is gone. A submission can have ended it only where seccomp is off."""
