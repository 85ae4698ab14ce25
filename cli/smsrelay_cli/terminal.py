"""Output to the terminal and input from it: tables, JSON, ages, questions."""

import getpass
import json
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from smsrelay_cli.exit_codes import AbortedError

Row = Mapping[str, object]
MINUTE, HOUR, DAY = 60, 3_600, 86_400


def print_json(document: object) -> None:
    """Print one JSON document to the standard output.

    JSON itself requires an escape for the controls below U+0020 only; a terminal also interprets
    DEL, the C1 controls and others.
    """
    text = json.dumps(document, indent=2, ensure_ascii=False)
    print("".join(c if c == "\n" or c.isprintable() else json.dumps(c)[1:-1] for c in text))


def print_line(line: str) -> None:
    """Print a line of the result to the standard output."""
    print(printable(line))


def print_notice(line: str) -> None:
    """Print a line for the operator to the standard error, because programs do not need it."""
    print(printable(line), file=sys.stderr)


def print_table(columns: Sequence[str], rows: Sequence[Row]) -> None:
    """Print a table. Numbers are right-aligned, and a dash stands for a missing value."""
    cells = [[_cell(row.get(column)) for column in columns] for row in rows]
    numeric = [
        any(isinstance(row.get(column), int) for row in rows) or column in {"age", "oldest"}
        for column in columns
    ]
    widths = [
        max([len(column), *(len(line[n]) for line in cells)]) for n, column in enumerate(columns)
    ]
    for line in [[column.upper() for column in columns], *cells]:
        parts = [
            cell.rjust(width) if is_numeric else cell.ljust(width)
            for cell, width, is_numeric in zip(line, widths, numeric, strict=True)
        ]
        print("  ".join(parts).rstrip())


def confirm(question: str, *, yes: bool) -> None:
    """Ask a question, unless the operator passed `--yes`.

    Raises:
        AbortedError: the answer is not yes.
    """
    if yes:
        return
    print(f"{printable(question)} [y/N] ", end="", file=sys.stderr, flush=True)
    answer = sys.stdin.readline()
    if not sys.stdin.isatty():
        print(file=sys.stderr)  # the question's line has no end: no person pressed Enter
    if answer.strip().lower() not in {"y", "yes"}:
        raise AbortedError("aborted: nothing was changed")


def entered_line(prompt: str, *, is_secret: bool = False) -> str:
    """Read one line, including its line break; empty at the end of the input.

    The terminal does not show a secret. There is no prompt if the standard input is not a terminal.
    """
    if not sys.stdin.isatty():
        return sys.stdin.readline()
    if is_secret:
        try:
            return f"{getpass.getpass(prompt, stream=sys.stderr)}\n"
        except EOFError:
            return ""
    print(prompt, end="", file=sys.stderr, flush=True)
    return sys.stdin.readline()


def shown_age(seconds: float | None) -> str | None:
    """Format an age in the largest unit of which it has at least two: 90s, 90m, 36h, 12d."""
    if seconds is None:
        return None
    for unit, name in ((DAY, "d"), (HOUR, "h"), (MINUTE, "m")):
        if seconds >= 2 * unit:
            return f"{int(seconds // unit)}{name}"
    return f"{int(seconds)}s"


def shown_time(seconds: float) -> str:
    """Format seconds since the epoch as ISO 8601, in UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def counted(count: int, singular: str, plural: str | None = None) -> str:
    """Format a number with its noun: `1 send`, `2 sends`."""
    return f"{count} {singular if count == 1 else plural or f'{singular}s'}"


def printable(text: str) -> str:
    """Replace control characters, because clients choose names and errors can contain any text."""
    return "".join(character if character.isprintable() else "\ufffd" for character in text)


def _cell(value: object) -> str:
    return "-" if value is None or value == "" else printable(str(value))
