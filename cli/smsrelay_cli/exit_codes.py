"""Why a command ends without having done what it was asked for, and with which exit code."""

DONE, FAILED, USAGE, ABORTED = 0, 1, 2, 3
BROKEN_PIPE = 141
"""As a shell reports a program that SIGPIPE ended."""


class CommandError(Exception):
    """One line for the operator; `code` is the exit code."""

    code = FAILED


class UsageError(CommandError):
    """The command line can't be right."""

    code = USAGE


class AbortedError(CommandError):
    """The operator did not say yes; nothing was changed."""

    code = ABORTED
