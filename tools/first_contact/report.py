"""The report of first contact: a verdict on each assumption of docs/unverified.md."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from smsrelay import __version__
from tools.first_contact.findings import Findings, shape
from tools.first_contact.verdicts import JUDGED, NOT_ASKED, NOT_STORED
from tools.local_stack import ROOT

PAGE: Final = ROOT / "docs" / "unverified.md"
CONFIRMED, REFUTED, UNTESTED = "confirmed", "refuted", "untested"


def assumptions(page: Path = PAGE) -> dict[str, str]:
    """Read the assumptions by their ids from the table of docs/unverified.md."""
    rows = [line.strip("| ").split(" | ") for line in page.read_text().splitlines()]
    return {row[0].strip("`"): row[1] for row in rows if row[0].startswith("`") and len(row) > 1}


def judge(name: str, found: Findings) -> dict[str, Any]:
    """Return the verdict on an assumption, with the shape of the response."""
    if name in NOT_ASKED:
        return {"verdict": UNTESTED, "reason": NOT_ASKED[name]}
    evidence, judgement = JUDGED[name]
    try:
        result = judgement(found)
    except KeyError:
        result = "There was no response."
    verdict: dict[str, Any] = {"verdict": UNTESTED, "reason": result}
    if isinstance(result, bool):
        verdict = {"verdict": CONFIRMED if result else REFUTED}
    if answer := found.answers.get(evidence):
        verdict["response"] = answer.without_values(found.secrets)
    if name == "send-accepted" and (send := found.send):
        stored = {"status": send.status, "reason": send.reason, "tokenId": shape(send.token_id)}
        verdict |= {"response": NOT_STORED, "stored": stored}
    return verdict


def report_of(found: Findings, *, is_local: bool) -> dict[str, Any]:
    """Return the report: nothing in it is a secret, a number or a text."""
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "version": __version__,
        "stack": "local" if is_local else "deployed",
        "doctor": found.doctor,
        "assumptions": [
            {"id": name, "assumption": text, **judge(name, found)}
            for name, text in assumptions().items()
        ],
    }
