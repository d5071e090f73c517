"""The one exception that the trainer shows to people: a sentence that says what happened and what to do next."""


class UserError(Exception):
    """Something a person can act on. The command line prints it without a traceback and exits with 2."""
