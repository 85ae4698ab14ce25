"""The command line: parses arguments, runs the command, and returns its exit code."""

import argparse
import os
import re
import sys
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError, ParamValidationError
from pydantic_core import PydanticCustomError

from smsrelay import __version__
from smsrelay.adapters.dynamodb_ledger import GROUPS
from smsrelay.adapters.logger import described
from smsrelay.errors import RelayError
from smsrelay.messages.phone_numbers import normalize
from smsrelay.messages.request import MAX_RECIPIENTS, validate_key
from smsrelay_cli import (
    budget,
    catalogue,
    clients,
    credentials,
    dead_letters,
    doctor,
    pauses,
    sends,
    stats,
)
from smsrelay_cli.clients import MAX_GUEST_NUMBERS
from smsrelay_cli.deployed_stack import STACK_VARIABLE, find_stack
from smsrelay_cli.exit_codes import ABORTED, BROKEN_PIPE, FAILED, CommandError
from smsrelay_cli.terminal import print_notice

_UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
AGE = r"([0-9]{1,9})([smhd])"
WRONG_TIME = "not a time: enter one such as 2026-11-26T08:00+01:00, or an age such as 2h"
LARGEST_LIMIT = 1_000
LONGEST_NOTE = 200
_CARRYING = {"PutItem", "SendMessage", "SendMessageBatch", "CreateSecret", "PutSecretValue"}
"""Operations with a message or a secret in the request, which an error of AWS may repeat."""
EXIT_CODES = (
    "exit codes: 0 done, 1 refused, not found or not complete, 2 wrong usage, 3 aborted by you"
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command, and return its exit code."""
    try:
        code = _run(arguments)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader of the output has ended, as `| head` does
        nowhere = os.open(os.devnull, os.O_WRONLY)  # otherwise Python fails again at exit
        os.dup2(nowhere, sys.stdout.fileno())
        os.dup2(nowhere, sys.stderr.fileno())
        return BROKEN_PIPE
    return code


def _run(arguments: Sequence[str] | None) -> int:
    try:
        options = _parser().parse_args(arguments, _defaults())
    except SystemExit as error:  # argparse has printed the error or the help
        return int(error.code or 0)
    try:
        code: int = options.run(options.find(options), options, time.time())
    except CommandError as error:
        print_notice(f"smsrelay: {error}")
        return error.code
    except (RelayError, BotoCoreError, ClientError) as error:
        print_notice(f"smsrelay: {_in_one_line(error)}")
        return FAILED
    except KeyboardInterrupt:
        print_notice("\nsmsrelay: interrupted")
        return ABORTED
    except BrokenPipeError:
        raise
    except Exception as error:  # noqa: BLE001 - a traceback would show its text
        print_notice("smsrelay: unexpected error:")
        for line in described(error):
            print_notice(line)
        return FAILED
    return code


def _in_one_line(error: Exception) -> str:
    """Describe an error in one line, with the text of AWS if that can't contain a message."""
    cause = error.__cause__ if isinstance(error, RelayError) else None
    text = " ".join(_safe_text(cause or error).split())
    return f"{error}: {text}" if cause else text


def _safe_text(error: BaseException) -> str:
    if isinstance(error, ClientError):
        is_harmless = error.operation_name not in _CARRYING
    else:
        is_harmless = isinstance(error, RelayError | BotoCoreError)
    if is_harmless and not isinstance(error, ParamValidationError):
        return str(error)
    return next(described(error))


def _parser() -> argparse.ArgumentParser:
    shared = _shared_options()
    parser = argparse.ArgumentParser(
        prog="smsrelay",
        description="Operate a relay: find and change sends and dead letters, and manage clients, "
        "the catalogue and the client secret.",
        epilog=EXIT_CODES,
        parents=[shared],
    )
    parser.add_argument("--version", action="version", version=f"smsrelay {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, what: str) -> argparse.ArgumentParser:
        return commands.add_parser(
            name, help=what, description=f"{what[0].upper()}{what[1:]}.", parents=[shared]
        )

    _add_reading(command)
    _add_deciding(command)
    _add_clients(command("client", "manage the clients that may post, and their limits"), shared)
    _add_catalogue(command("catalogue", "manage the names and defaults of messages"), shared)
    _add_credentials(command("credentials", "replace the client secret before it expires"), shared)
    return parser


def _defaults() -> argparse.Namespace:
    """Return the defaults of the shared options.

    If the options had defaults, these would overwrite options before the command.
    """
    return argparse.Namespace(
        local=False,
        stack_file=None,
        stack_name=None,
        region=None,
        profile=None,
        json=False,
        find=find_stack,
    )


def _shared_options() -> argparse.ArgumentParser:
    """Options that are allowed before and after the command."""
    shared = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)
    group = shared.add_argument_group("the relay, and the output format")
    group.add_argument(
        "--stack-name",
        metavar="NAME",
        help=f"its CloudFormation stack (default: ${STACK_VARIABLE})",
    )
    group.add_argument("--region", help="AWS region (default: the AWS CLI's)")
    group.add_argument("--profile", help="AWS profile (default: the AWS CLI's)")
    group.add_argument("--local", action="store_true", help="use the stack that `make up` started")
    group.add_argument(
        "--stack-file", type=Path, metavar="FILE", help="use the local stack of another stack.json"
    )
    group.add_argument("--json", action="store_true", help="print JSON")
    return shared


type _AddCommand = Callable[[str, str], argparse.ArgumentParser]
type _AddNested = Callable[..., argparse.ArgumentParser]


def _add_reading(command: _AddCommand) -> None:
    found = command("list", "list unfinished and failed sends, the latest changes first")
    found.add_argument(
        "--status",
        choices=sorted(map(str, GROUPS)),
        help="only sends with this status, the earliest due first",
    )
    found.add_argument(
        "--limit", type=_limit, default=50, metavar="N", help="at most N sends (default: 50)"
    )
    found.add_argument(
        "--older-than",
        type=_seconds,
        metavar="AGE",
        help="only sends unchanged for this long, such as 90s, 15m, 1h, 2d",
    )
    found.set_defaults(run=sends.list_sends)

    shown = command("show", "show a message with all its sends")
    shown.add_argument("id", metavar="ID")
    shown.set_defaults(run=sends.show)

    wanted = command("find", "find messages by idempotency key or reference, the newest first")
    by = wanted.add_mutually_exclusive_group(required=True)
    by.add_argument(
        "--key",
        type=_key,
        metavar="K",
        help="this idempotency key, or the id in SQS, SNS or EventBridge",
    )
    by.add_argument("--reference", metavar="R", help="exactly this reference")
    wanted.add_argument(
        "--client", metavar="C", help="of this client (default: the stack's DefaultClient)"
    )
    wanted.add_argument(
        "--limit", type=_limit, default=20, metavar="N", help="at most N messages (default: 20)"
    )
    wanted.set_defaults(run=sends.find)

    token = command("token", "show the send that a tokenId belongs to")
    token.add_argument("token_id", metavar="TOKENID")
    token.set_defaults(run=sends.token)

    checks = command(
        "doctor", "check all parts of the relay, and print what to do about each problem"
    )
    checks.set_defaults(run=doctor.doctor)

    calls = command(
        "budget", "show the API calls that polls use, and how many messages they suffice for"
    )
    calls.set_defaults(run=budget.budget)

    numbers = command("stats", "count unfinished sends, and the messages in the queues")
    numbers.set_defaults(run=stats.stats)


def _add_deciding(command: _AddCommand) -> None:
    resend = command("resend", "send unknown and failed sends again")
    _add_choice(resend)
    resend.add_argument(
        "--queued",
        action="store_true",
        help="enqueue queued sends again, and change no others; this never sends twice",
    )
    _add_yes(resend)
    resend.set_defaults(run=sends.resend)

    cancelled = command("cancel", "end queued sends, so that they are never sent")
    _add_choice(cancelled)
    _add_yes(cancelled)
    cancelled.set_defaults(run=sends.cancel)

    resolve = command("resolve", "end unknown sends by hand")
    _add_choice(resolve)
    resolve.add_argument(
        "--as",
        dest="status",
        required=True,
        choices=["accepted", "rejected", "failed"],
        help="was sent, rejected, or certainly not sent; only failed sends can be resent",
    )
    resolve.add_argument("--token-id", metavar="T", help="the tokenId of an accepted send")
    resolve.add_argument(
        "--note", type=_note, metavar="TEXT", help="how you found out; the client can read it"
    )
    _add_yes(resolve)
    resolve.set_defaults(run=sends.resolve)

    redrive = command("redrive", "return dead letters to the queue")
    redrive.add_argument("--reason", metavar="R", help="only dead letters with this reason")
    redrive.add_argument("--client", metavar="C", help="only dead letters of this client")
    redrive.add_argument(
        "--limit", type=_limit, default=100, metavar="N", help="at most N (default: 100)"
    )
    redrive.add_argument(
        "--dry-run", action="store_true", help="show the reasons, and change nothing"
    )
    _add_yes(redrive)
    redrive.set_defaults(run=dead_letters.redrive)

    discarded = command("discard", "remove dead letters that can never succeed")
    discarded.add_argument(
        "id", metavar="ID", help="id of the message, as `redrive --dry-run` shows it"
    )
    discarded.add_argument(
        "--send", type=_number, metavar="N", help="only this send of the message"
    )
    _add_yes(discarded)
    discarded.set_defaults(run=dead_letters.discard, dry_run=False, limit=dead_letters.MOST_READ)

    paused = command("pause", "stop sending; posted messages wait in the queue")
    paused.add_argument(
        "--note", type=_note, metavar="TEXT", help="the reason, for other operators"
    )
    paused.set_defaults(run=pauses.pause)
    resumed = command("resume", "end a pause")
    resumed.set_defaults(run=pauses.resume)
    for pausing in (paused, resumed):
        pausing.add_argument("--client", metavar="C", help="only this client (default: all)")


def _add_choice(command: argparse.ArgumentParser) -> None:
    """Add the arguments that choose sends: the id of a message, or filters."""
    command.add_argument(
        "id", metavar="ID", nargs="?", help="id of a message, unless filters choose"
    )
    command.add_argument("--send", type=_number, metavar="N", help="only this send of the message")
    filters = command.add_argument_group("filters, in place of ID")
    filters.add_argument("--reason", metavar="R", help="only sends with this reason")
    filters.add_argument(
        "--since",
        type=_since,
        metavar="TIME",
        help="only sends changed since 2026-11-26T08:00Z, or within 2h",
    )
    filters.add_argument("--client", metavar="C", help="only sends of this client")
    filters.add_argument(
        "--limit",
        type=_limit,
        metavar="N",
        help=f"at most N, the oldest first (default: {sends.DEFAULT_LIMIT})",
    )


def _add_clients(parser: argparse.ArgumentParser, shared: argparse.ArgumentParser) -> None:
    command = _nested(parser, shared)

    def shows(added: argparse.ArgumentParser) -> None:
        added.add_argument("--show", action="store_true", help="print the new key or secret")

    def has_limits(added: argparse.ArgumentParser, **defaults: int) -> Any:
        for name, what in {"rate": "per second", "burst": "at once", "quota": "per day"}.items():
            default = defaults.get(name)
            shown = f"requests {what}" + (f" (default: {default})" if default else "")
            added.add_argument(f"--{name}", type=_number, default=default, metavar="N", help=shown)
        by_default = "default: 1000; " if defaults else ""
        what = f"recipients in one request ({by_default}at most {MAX_RECIPIENTS})"
        added.add_argument("--max-recipients", type=_recipients, metavar="N", help=what)
        guests = added.add_mutually_exclusive_group()
        what = (
            f"make it a guest, which may send to these numbers only (at most {MAX_GUEST_NUMBERS})"
        )
        guests.add_argument(
            "--only-to", type=_mobile_number, nargs="+", metavar="NUMBER", help=what
        )
        return guests

    def may_be_default(added: argparse.ArgumentParser) -> None:
        what = (
            "required for the stack's DefaultClient, which can see queue messages without a client"
        )
        added.add_argument("--default", action="store_true", help=what)

    command("list", "list the clients with API keys, and their limits", clients.list_clients)
    added = command("add", "give a client an API key and limits", clients.add, "client")
    has_limits(added, rate=20, burst=40, quota=10_000)
    shows(added)
    may_be_default(added)
    changed = command("set", "change limits of a client; its keys stay", clients.change, "client")
    has_limits(changed).add_argument(
        "--any-number",
        dest="only_to",
        action="store_const",
        const=[],
        help="the client is no longer a guest",
    )
    shows(command("rotate", "give a client one more API key", clients.rotate, "client"))
    dropped = command("drop", "delete an API key of a client", clients.drop, "client", "key_id")
    _add_yes(dropped)
    what = "remove a client: API keys, registrations, recipient limits, webhook secret, usage plan"
    removed = command("remove", what, clients.remove, "client")
    _add_yes(removed)
    what = "do not delete the webhook secret, as its value can't be made again"
    removed.add_argument("--keep-webhook-secret", action="store_true", help=what)
    what = "register an IAM role or user (ARN), or an API key (id), for a client"
    may_be_default(command("allow", what, clients.allow, "client", "credential"))
    what = "give a client a new webhook secret; the previous one remains valid"
    webhook = command("webhook", what, clients.webhook, "client")
    shows(webhook)
    webhook.add_argument("--revoke", action="store_true", help="revoke all old secrets at once")
    what = "give a client a new secret to check callbacks with; the previous one is used, too"
    shows(command("callback", what, clients.callback, "client"))


def _add_catalogue(parser: argparse.ArgumentParser, shared: argparse.ArgumentParser) -> None:
    command = _nested(parser, shared)
    checked = command("check", "list the errors of a catalogue in a file", catalogue.check)
    checked.set_defaults(find=lambda _: None)  # it needs neither a relay nor AWS
    put = command("put", "replace the stored catalogue by the one in a file", catalogue.put)
    _add_yes(put)
    for with_file in (checked, put):
        with_file.add_argument("file", type=Path, metavar="FILE")
    command("show", "show the stored catalogue", catalogue.show)


def _add_credentials(parser: argparse.ArgumentParser, shared: argparse.ArgumentParser) -> None:
    command = _nested(parser, shared)
    command("status", "show when the client secrets expire", credentials.status)
    command("stage", "store the staged client secret, and check it", credentials.stage)
    _add_yes(command("promote", "use the staged client secret only", credentials.promote))


def _nested(parser: argparse.ArgumentParser, shared: argparse.ArgumentParser) -> _AddNested:
    """Return a function that adds a command below the command of `parser`."""
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(
        name: str, what: str, run: Callable[..., int], *arguments: str
    ) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=what, description=what, parents=[shared])
        for argument in arguments:
            added.add_argument(argument, metavar=argument.upper())
        added.set_defaults(run=run)
        return added

    return command


def _add_yes(command: argparse.ArgumentParser) -> None:
    command.add_argument("--yes", action="store_true", help="do not ask for confirmation")


def _key(text: str) -> str:
    try:
        return validate_key(text)
    except PydanticCustomError as error:
        raise argparse.ArgumentTypeError(error.message()) from None


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text)):
        raise argparse.ArgumentTypeError("not a whole number of 1 or more")
    return int(text)


def _mobile_number(text: str) -> str:
    try:
        return normalize(text)
    except PydanticCustomError as error:
        raise argparse.ArgumentTypeError(error.message()) from None


def _recipients(text: str) -> int:
    number = _number(text)
    if number > MAX_RECIPIENTS:
        raise argparse.ArgumentTypeError(f"more than {MAX_RECIPIENTS}, the maximum of a request")
    return number


def _limit(text: str) -> int:
    number = _number(text)
    if number > LARGEST_LIMIT:
        raise argparse.ArgumentTypeError(f"more than the maximum of {LARGEST_LIMIT}")
    return number


def _note(text: str) -> str:
    if len(text) > LONGEST_NOTE:
        raise argparse.ArgumentTypeError(f"longer than {LONGEST_NOTE} characters")
    return text


def _since(text: str) -> float:
    """Convert a time with an offset, or an age, to seconds since the epoch."""
    if re.fullmatch(AGE, text):
        return time.time() - _seconds(text)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(WRONG_TIME) from None
    if moment.tzinfo is None:
        raise argparse.ArgumentTypeError(WRONG_TIME)
    return moment.timestamp()


def _seconds(text: str) -> int:
    match = re.fullmatch(AGE, text)
    if not match:
        raise argparse.ArgumentTypeError("not an age such as 90s, 15m, 1h or 2d")
    return int(match[1]) * _UNITS[match[2]]
