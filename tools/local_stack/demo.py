"""The demo: posts every sample by HTTP and SQS to a temporary stack, and checks the results."""

import shutil
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from tools.local_stack.observations import Evidence, Witness
from tools.local_stack.polling import wait_for
from tools.local_stack.roles import Roles
from tools.local_stack.samples import Content, Recipient, Sample, Way, samples
from tools.local_stack.servers import DENIED
from tools.local_stack.stack import STATE, LocalStack, Stack

SETTLE_SECONDS = 60
HEADINGS = (
    "request",
    "way",
    "HTTP",
    "sends",
    "tokenIds in the ledger",
    "delivered",
    "arrived at the phone",
)
REFUSED_STATUSES = {400, 422}
TEXT_WIDTH = 48


@dataclass(frozen=True)
class Case:
    """A sample and its result."""

    sample: Sample
    evidence: Evidence


@dataclass(frozen=True)
class Totals:
    """The numbers in the last line of the output."""

    requests: int
    accepted: int
    stored: int
    lost: int

    def __str__(self) -> str:
        return (
            f"demo: {self.requests} requests, {self.accepted} sends accepted, "
            f"{self.stored} tokenIds stored, {self.lost} lost"
        )


def run() -> int:
    """Run the demo, print what happened, and return the exit code.

    Raises:
        StartError: the stack did not start.
    """
    (STATE / "demo").mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=STATE / "demo"))
    with LocalStack(folder, say=print) as stack:
        cases, arrivals = _play(stack)
        denied = Roles(stack).denials()
    print()
    print(table(cases))
    print()
    found = [*differences(cases), *strays(cases, arrivals)]
    if denied:
        found.append(f"IAM denied {denied} calls of functions: search ministack.log for “{DENIED}”")
    for difference in found:
        print(f"DIFFERENT: {difference}")
    if found:
        print(f"The logs are in {folder}")
    else:
        shutil.rmtree(folder)
    print(totals(cases))
    return 1 if found else 0


def _play(stack: Stack) -> tuple[list[Case], Mapping[str, Content]]:
    to_post = samples()
    print(f"posting {len(to_post)} requests …")
    began = time.monotonic()
    with Witness(stack) as witness:
        # The queue first, so that its worker runs while the API responds.
        posted = {
            sample: witness.post(sample)
            for sample in sorted(to_post, key=lambda sample: sample.way is Way.API)
        }
        settled = {sample: _settle(witness, sample, posted[sample]) for sample in to_post}
        arrivals = witness.arrivals()
        print("polling their deliveries …")
        witness.ask_for_deliveries([it.message_id for it in settled.values() if it.stored])
        settled = {
            sample: witness.with_deliveries(evidence) if evidence.stored else evidence
            for sample, evidence in settled.items()
        }
    print(f"done in {time.monotonic() - began:.1f} s")
    cases = [
        Case(
            sample,
            replace(
                evidence,
                arrived=tuple(
                    arrivals[token] for token in evidence.stored_tokens if token in arrivals
                ),
            ),
        )
        for sample, evidence in settled.items()
    ]
    return cases, arrivals


def _settle(witness: Witness, sample: Sample, evidence: Evidence) -> Evidence:
    try:
        return wait_for(
            partial(witness.settled, sample, evidence),
            what=f"the end of {sample.name}",
            seconds=SETTLE_SECONDS,
            every=0.1,
        )
    except TimeoutError:
        return evidence  # `differences` reports what is missing


def totals(cases: Sequence[Case]) -> Totals:
    """Count sends. A send is lost if the ledger has no tokenId for it."""
    return Totals(
        requests=len(cases),
        accepted=sum(len(case.evidence.arrived) for case in cases),
        stored=sum(len(case.evidence.stored_tokens) for case in cases),
        lost=sum(max(0, case.sample.calls - len(case.evidence.stored_tokens)) for case in cases),
    )


def differences(cases: Iterable[Case]) -> list[str]:
    """Return the differences between the posted samples and their results."""
    return [
        f"{case.sample.name} by {case.sample.way}: {problem}"
        for case in cases
        for problem in _problems(case.sample, case.evidence)
    ]


def strays(cases: Iterable[Case], arrivals: Mapping[str, Content]) -> list[str]:
    """Return messages that reached phones, but belong to no request, such as duplicates."""
    known = {token for case in cases for token in case.evidence.stored_tokens}
    return [
        f"tokenId {token} reached {len(content.recipients)} phones, but is not in the ledger"
        for token, content in arrivals.items()
        if token not in known
    ]


def _problems(sample: Sample, evidence: Evidence) -> list[str]:
    if sample.content is None:
        return _problems_of_refused(sample, evidence)
    problems = []
    if sample.way is Way.API and evidence.http_status != 202:  # noqa: PLR2004 - HTTP's Accepted
        problems.append(f"answered {evidence.http_status} {' '.join(evidence.refusals)}")
    if len(evidence.stored) != sample.calls:
        problems.append(f"{len(evidence.stored)} sends stored, not {sample.calls}")
    problems += [
        f"a send is {send.status}, {send.delivered} of {send.recipients} recipients reached"
        for send in evidence.stored
        if (send.status, send.delivered) != ("delivered", send.recipients)
        and not (sample.may_wait and send.status == "accepted")
    ]
    if set(evidence.answered_tokens) != set(evidence.stored_tokens):
        problems.append("the API returned other tokenIds than the ledger contains")
    if sum(send.recipients for send in evidence.stored) != len(sample.content.recipients):
        problems.append("the ledger has another number of recipients")
    if len(evidence.arrived) != len(evidence.stored_tokens):
        problems.append("the ledger contains a tokenId that the upstream never returned")
    reached: set[Recipient] = set()
    for content in evidence.arrived:
        reached |= content.recipients
        if replace(content, recipients=sample.content.recipients) != sample.content:
            problems.append("another message arrived than was posted")
    if reached != sample.content.recipients:
        problems.append(f"{len(reached ^ sample.content.recipients)} recipients differ")
    return problems


def _problems_of_refused(sample: Sample, evidence: Evidence) -> list[str]:
    problems = []
    if sample.way is Way.API and evidence.http_status not in REFUSED_STATUSES:
        problems.append(f"should have been refused, but was answered {evidence.http_status}")
    if sample.way is Way.QUEUE and not evidence.refused_as:
        problems.append("no dead letter with a reason")
    if not evidence.refusals:
        problems.append("no error says why it was refused")
    if evidence.answered_tokens or evidence.stored or evidence.arrived:
        problems.append("should have been refused, but was sent")
    return problems


def table(cases: Iterable[Case]) -> str:
    """Format the cases as a table."""
    rows = [HEADINGS, *(_row(case.sample, case.evidence) for case in cases)]
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    rows.insert(1, tuple("─" * width for width in widths))
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def _row(sample: Sample, evidence: Evidence) -> tuple[str, ...]:
    return (
        sample.name,
        sample.way,
        "-" if evidence.http_status is None else str(evidence.http_status),
        str(len(evidence.stored)),
        ", ".join(f"{token[:8]}…" for token in evidence.stored_tokens) or "-",
        _delivered(evidence),
        _arrived(evidence),
    )


def _delivered(evidence: Evidence) -> str:
    if not evidence.stored:
        return "-"
    reached = sum(send.delivered for send in evidence.stored)
    waits = " (waits)" if any(send.status == "accepted" for send in evidence.stored) else ""
    return f"{reached} of {sum(send.recipients for send in evidence.stored)}{waits}"


def _arrived(evidence: Evidence) -> str:
    if evidence.arrived:
        recipients = sum(len(content.recipients) for content in evidence.arrived)
        phones = "1 phone" if recipients == 1 else f"{recipients} phones"
        later = ", later" if any(send.status == "accepted" for send in evidence.stored) else ""
        return f"{phones}{later}: {_shown(evidence.arrived[0].text)}"
    where = f"dead letter, {evidence.refused_as}: " if evidence.refused_as else ""
    first, *others = evidence.refusals or ("?",)
    more = f" and {len(others)} more" if others else ""
    return f"nothing ({where}{first}{more})"


def _shown(text: str | None) -> str:
    if text is None:
        return "(message's own text)"
    return f"“{text if len(text) <= TEXT_WIDTH else text[: TEXT_WIDTH - 1] + '…'}”"
