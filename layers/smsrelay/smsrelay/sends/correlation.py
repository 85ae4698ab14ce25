"""What ties the log lines of one request together, through all functions. Pure."""

import re

_ROOT = re.compile(r"(?:^|;)Root=(1-[0-9a-f]{8}-[0-9a-f]{24})(?:;|$)")
# What a caller may choose is neither a number nor a word: nothing personal can stand in it.


def correlation_id(trace: str | None) -> str | None:
    """The root of a trace as AWS writes it (`X-Amzn-Trace-Id`, `AWSTraceHeader`); None: no such.

    API Gateway makes one where the caller gave none, and SQS hands on that of who sent it.
    """
    match = _ROOT.search(trace or "")
    return match and match[1]
