"""First contact: tests with Marketing Cloud which assumptions of docs/unverified.md are true.

`python -m tools.first_contact STAGE` deploys a temporary stack, runs `smsrelay doctor`, sends one
SMS through the stack, polls its delivery, makes calls that Marketing Cloud refuses, deletes the
stack, and writes a report. The report has the shapes of the responses, but no secret, number or
text.
"""

import argparse
import json
import sys
from argparse import Namespace
from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Final

from botocore.exceptions import BotoCoreError, ClientError

from smsrelay.adapters.logger import described
from smsrelay.errors import RelayError
from smsrelay_cli.exit_codes import DONE, FAILED, CommandError
from smsrelay_cli.terminal import confirm
from tools import deploy
from tools.first_contact import questions
from tools.first_contact.findings import Findings
from tools.first_contact.report import CONFIRMED, REFUTED, UNTESTED, report_of
from tools.first_contact.stack import deployed, find, trial_of, upstream_hosts
from tools.first_contact.steps import FirstContact
from tools.local_stack import ROOT

if TYPE_CHECKING:
    from smsrelay_cli.deployed_stack import DeployedStack

REPORT: Final = ROOT / ".local" / "first-contact.json"


def first_contact(options: Namespace) -> int:
    """Ask for all inputs, run all steps, and write the report."""
    is_local = options.stack_file is not None
    stack: AbstractContextManager[DeployedStack]
    if is_local:
        stack, steps = nullcontext(find(stack_file=options.stack_file)), "sends"
    else:
        stage = trial_of(deploy.load(options.stage))
        stage.session.client(
            "sts"
        ).get_caller_identity()  # missing AWS credentials fail here, not later
        stack, steps = deployed(stage), f"deploys {stage.stack_name}, deletes it later, and sends"
    number = questions.phone_number()
    found = Findings(message_id=questions.message_id())
    credentials = None if is_local else questions.client_credentials(upstream_hosts(stage))
    confirm(f"This {steps} ONE SMS to this number, which costs money. Continue?", yes=False)
    try:
        with stack as target:
            contact = FirstContact(target, number, found)
            if credentials:
                contact.store_credentials(credentials)
            contact.run()
    finally:
        report = report_of(found, is_local=is_local)
        options.report.parent.mkdir(parents=True, exist_ok=True)
        options.report.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n")
        print(f"The report is in {options.report}.")
    for row in report["assumptions"]:
        print(f"{row['verdict']:<10} {row['id']:<21} {row.get('reason', '')}".rstrip())
    counts = Counter(row["verdict"] for row in report["assumptions"])
    summary = ", ".join(f"{counts[it]} {it}" for it in (CONFIRMED, REFUTED, UNTESTED))
    print(summary)
    return FAILED if counts[REFUTED] else DONE


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command, and return its exit code: 1 if an assumption is refuted."""
    parser = argparse.ArgumentParser(prog="python -m tools.first_contact", description=__doc__)
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("stage", nargs="?", metavar="STAGE", help="a stage of samconfig.toml")
    where.add_argument(
        "--stack-file", type=Path, metavar="FILE", help="use the local stack of this stack.json"
    )
    parser.add_argument("--report", type=Path, default=REPORT, metavar="FILE")
    try:
        return first_contact(parser.parse_args(arguments))
    except CommandError as error:
        print(f"first contact: {error}", file=sys.stderr)
        return error.code
    except (deploy.DeployError, RelayError, OSError) as error:
        print(f"first contact: {error}", file=sys.stderr)
    except (BotoCoreError, ClientError) as error:
        # The error's text may contain stored or sent data.
        print(f"first contact: {next(described(error))}", file=sys.stderr)
    except KeyboardInterrupt:
        print("\nfirst contact: interrupted", file=sys.stderr)
        return deploy.INTERRUPTED
    return FAILED


if __name__ == "__main__":
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # sam writes between
    sys.exit(main())
