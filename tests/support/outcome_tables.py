"""Reads the tables of docs/delivery-guarantees.md that give the result of a response."""

import re
from collections.abc import Collection, Sequence
from typing import NamedTuple

from tests.support.template import ROOT

PAGE = ROOT / "docs/delivery-guarantees.md"
_STATUSES = re.compile(r"[2-5][0-9]{2}(?:, [2-5][0-9]{2})*|[2-5]xx(?:, [2-5]xx)*|other")
_RULE = re.compile(r"---+:?")


class UnreadableTableError(Exception):
    """A table of the page does not have the expected form."""


class ResponseRow(NamedTuple):
    """The result of a response with one of these statuses and one of these bodies."""

    statuses: str
    bodies: str
    result: str
    reason: str
    """Empty if the table has none."""

    def fits(self, status: int, body: str) -> bool:
        """Return whether the row applies to a response; `body` is a name in the table."""
        statuses = self.statuses.split(", ")
        is_status = self.statuses == "other" or {f"{status}", f"{status // 100}xx"} & {*statuses}
        return bool(is_status) and (self.bodies == "any" or body in self.bodies.split(" or "))


class ResponseTable(NamedTuple):
    rows: Sequence[ResponseRow]

    def row(self, status: int, body: str) -> ResponseRow:
        """Return the first row that fits; each response has one, because the last row fits all."""
        return next(row for row in self.rows if row.fits(status, body))


def read_responses(
    name: str, bodies: Collection[str], results: Collection[str], page: str | None = None
) -> ResponseTable:
    """Read the table below the comment `name`; it may contain only these bodies and results."""
    rows: list[ResponseRow] = []
    for cells in read_table(name, page):
        row = ResponseRow(*[*cells, ""][:4])
        names = row.bodies.split(" or ")
        if (
            not _STATUSES.fullmatch(row.statuses)
            or not (row.bodies == "any" or {*names} <= {*bodies})
            or row.result not in results
            or not re.fullmatch(r"(?:`[a-z-]+`)?", row.reason)
        ):
            raise UnreadableTableError(f"{name}: the row {cells} can't be read")
        rows.append(row._replace(reason=row.reason.strip("`")))
    if not rows or (rows[-1].statuses, rows[-1].bodies) != ("other", "any"):
        raise UnreadableTableError(f"{name}: the last row must be for all other responses")
    if unused := {*bodies} - {name for row in rows for name in row.bodies.split(" or ")} - {"any"}:
        raise UnreadableTableError(f"{name}: no row is about {unused}")
    return ResponseTable(rows)


def read_table(name: str, page: str | None = None) -> list[list[str]]:
    """Read the rows of the table below the comment `name`, without the two header rows."""
    text = PAGE.read_text(encoding="utf-8") if page is None else page
    parts = text.split(f"<!-- {name} -->\n\n")
    if len(parts) != 2:
        raise UnreadableTableError(f"{name}: the page must contain this comment exactly once")
    table, _, after = parts[1].partition("\n\n")
    lines = table.splitlines()
    if after.lstrip("\n").startswith("|"):
        raise UnreadableTableError(f"{name}: the table contains a blank line")
    rows = []
    for line in lines:
        if not (line.startswith("|") and line.endswith("|")):
            raise UnreadableTableError(f"{name}: {line!r} is not a row")
        rows.append([cell.strip() for cell in line[1:-1].split("|")])
    if len({len(row) for row in rows}) != 1 or len(rows) < 3:
        raise UnreadableTableError(f"{name}: each row must have as many cells as the header")
    if not all(_RULE.fullmatch(cell) for cell in rows[1]):
        raise UnreadableTableError(f"{name}: the second line must be the delimiter row")
    return rows[2:]
