"""Tests the reader of the tables in docs/delivery-guarantees.md, which refuses other forms."""

import pytest

from tests.support.outcome_tables import UnreadableTableError, read_responses, read_table

PAGE = """Text.

<!-- responses -->

| status | body | outcome | `reason` |
| --- | --- | --- | --- |
| 2xx | `tokenId` | accepted | `accepted` |
| 401, 403 | any | not sent | `forbidden` |
| 4xx, 5xx | `errors` or `errorcode` | not sent | `refused` |
| other | any | unknown | |

More text.
"""
BODIES = ("`tokenId`", "`errors`", "`errorcode`")
RESULTS = ("accepted", "not sent", "unknown")


@pytest.mark.parametrize(
    ("status", "body", "result", "reason"),
    [
        (200, "`tokenId`", "accepted", "accepted"),
        (299, "`tokenId`", "accepted", "accepted"),
        (200, "`errors`", "unknown", ""),
        (200, "HTML", "unknown", ""),
        (403, "HTML", "not sent", "forbidden"),
        (401, "`errors`", "not sent", "forbidden"),
        (404, "`errors`", "not sent", "refused"),
        (599, "`errorcode`", "not sent", "refused"),
        (404, "HTML", "unknown", ""),
        (302, "empty", "unknown", ""),
    ],
)
def test_the_first_row_that_fits_counts(status: int, body: str, result: str, reason: str) -> None:
    row = read_responses("responses", BODIES, RESULTS, PAGE).row(status, body)
    assert (row.result, row.reason) == (result, reason)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("<!-- responses -->\n\n", ""),
        ("<!-- responses -->\n\n", "<!-- responses -->\n"),
        ("More text.", "<!-- responses -->\n\n| a | b |"),
        ("| --- | --- | --- | --- |\n", ""),
        ("| 2xx |", "| 2xx or 3xx |"),
        ("| 2xx |", "| 2xx, 301 |"),
        ("| 2xx |", "| 20x |"),
        ("| 2xx |", "| 2xx | 3xx |"),
        ("| 2xx |", "2xx |"),
        ("| 401, 403 |", "| 401 and 403 |"),
        ("| `tokenId` |", "| `tokenID` |"),
        ("| `tokenId` |", "| any or `tokenId` |"),
        ("| `tokenId` |", "| any |"),
        ("| accepted |", "| Accepted |"),
        ("| `accepted` |", "| accepted |"),
        ("| other | any | unknown | |\n", ""),
        ("| other | any |", "| other | `errors` |"),
        ("| other | any |", "\n| other | any |"),
        ("| 401, 403 | any", "\n| 401, 403 | any"),
    ],
)
def test_a_table_that_cannot_be_read_is_refused(old: str, new: str) -> None:
    assert old in PAGE
    with pytest.raises(UnreadableTableError):
        read_responses("responses", BODIES, RESULTS, PAGE.replace(old, new, 1))


def test_a_table_without_rows_is_refused() -> None:
    with pytest.raises(UnreadableTableError):
        read_table("responses", "<!-- responses -->\n\n| a |\n| --- |\n")
