"""The exception for trouble that a person can mend."""


class UserError(Exception):
    """A sentence for the user: what happened, and what to do next.

    Raise it for trouble that the user can mend (a mistyped name, a damaged file, a full disk). The `kata` command prints
    the sentence without a traceback and exits with 2. Raise any other exception for a bug of the trainer: it keeps its
    traceback.
    """
