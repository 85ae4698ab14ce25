"""Exit codes, and the errors that end a command."""

DONE, FAILED, USAGE, ABORTED = 0, 1, 2, 3
BROKEN_PIPE = 141
"""The exit code that a shell reports for a program that SIGPIPE ended."""


class CommandError(Exception):
    """An error with one line for the operator; `code` is the exit code."""

    code = FAILED


class UsageError(CommandError):
    """The command line is not valid."""

    code = USAGE


class AbortedError(CommandError):
    """The operator did not confirm; nothing was changed."""

    code = ABORTED
