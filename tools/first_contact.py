"""First contact: ask Marketing Cloud which assumptions of docs/unverified.md are true.

`python -m tools.first_contact STAGE` deploys a stage, runs `smsrelay doctor`, sends one SMS through
the stack, polls its delivery, makes calls that Marketing Cloud refuses, deletes the stack, and
writes a report. The report has the shapes of the responses, but no secret, number or text.
"""

import argparse
import json
import re
import signal
import sys
import time
import uuid
from argparse import Namespace
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import (
    AbstractContextManager,
    contextmanager,
    nullcontext,
    redirect_stdout,
    suppress,
)
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property, partial
from http import HTTPStatus
from io import StringIO
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import quote

import httpx
from botocore.exceptions import BotoCoreError, ClientError
from pydantic_core import PydanticCustomError

from smsrelay import __version__
from smsrelay.adapters.cached_token import CachedTokenSource
from smsrelay.adapters.lambda_token_renewal import LambdaTokenRenewal
from smsrelay.adapters.logger import described
from smsrelay.errors import CredentialsUnusableError, RelayError
from smsrelay.messages.phone_numbers import normalize
from smsrelay.messages.request import MESSAGE_ID
from smsrelay.messages.strict_json import json_object
from smsrelay.security.allowed_hosts import AllowedHosts
from smsrelay.security.redaction import without
from smsrelay.sends import ids
from smsrelay.sends.call_outcome import words_of
from smsrelay.sends.queue_envelopes import KEY_ATTRIBUTE
from smsrelay.sends.send import ACCEPTED_STATUSES, Send, Status
from smsrelay.tokens.token_response import ClientCredentials, parse_credentials
from smsrelay_cli.credentials import CredentialsSecret, read_line
from smsrelay_cli.deployed_stack import DeployedStack, find_stack
from smsrelay_cli.doctor import doctor
from smsrelay_cli.exit_codes import DONE, FAILED, CommandError, UsageError
from smsrelay_cli.terminal import confirm, entered_line
from tools import deploy
from tools.local_stack import ROOT
from tools.local_stack.polling import wait_for
from tools.mobileconnect_simulator import deliveries, error_messages
from tools.mobileconnect_simulator.validation import decode_message_id

PAGE: Final = ROOT / "docs" / "unverified.md"
REPORT: Final = ROOT / ".local" / "first-contact.json"
TEXT: Final = "First contact of smsrelay."
TIMEOUT: Final = httpx.Timeout(30, connect=5)
SEND_SECONDS, SEND_INTERVAL = 120, 0.5
POLL_SECONDS, POLL_INTERVAL = 600, 15
CONFIRMED, REFUTED, UNTESTED = "confirmed", "refuted", "untested"
STATUSES: Final = {"New", "Queuing", "Started", "Finished", "Error"}
ENDED: Final = {"Finished", "Error"}
MAX_TOKEN: Final = 512
LIFETIMES: Final = range(600, 1_201)
"""Seconds: 1,080 are documented as an example."""
MISSING_SCOPE: Final = 20002
_MEMBER = re.compile(r"[A-Za-z_]{1,40}")
_MEDIA_TYPE = re.compile(r"[a-z]+/[a-z.+-]{1,40}")
_MAX_ERROR_CODE: Final = 99_999

NO_RECIPIENTS: Final[dict[str, Any]] = {"mobileNumbers": []}
"""The recipients of each refused send: without any, no mistake of ours can send an SMS."""


class Answer(NamedTuple):
    """A response of Marketing Cloud."""

    status: int
    content_type: str
    body: bytes

    @property
    def document(self) -> dict[str, Any]:
        """The JSON object in the body; empty if it isn't one."""
        return json_object(self.body.decode("utf-8-sig", "replace"))

    @property
    def errors(self) -> Sequence[str]:
        """The reasons, if it has the shape of the SMS API's refusals."""
        errors = self.document.get("errors")
        return [it for it in errors if isinstance(it, str)] if isinstance(errors, list) else []

    @property
    def is_refusal(self) -> bool:
        """Whether it is a 400 with at least one reason."""
        return self.status == HTTPStatus.BAD_REQUEST and bool(self.errors)

    def without_values(self, secrets: Iterable[str]) -> dict[str, Any]:
        """Return status and shape, and of a refusal the code and the words that are no secrets."""
        code = self.document.get("errorcode")
        media_type = self.content_type.partition(";")[0].strip().lower()
        found: dict[str, Any] = {
            "status": self.status,
            "contentType": media_type if _MEDIA_TYPE.fullmatch(media_type) else "…",
            "body": shape(self.document) if self.document else "not a JSON object",
        }
        if self.status >= HTTPStatus.BAD_REQUEST:
            found["errors"] = without(words_of(self.body), secrets)
            if type(code) is int and 0 <= code <= _MAX_ERROR_CODE:
                found["errorCode"] = code
        return found


def shape(value: object) -> object:
    """Replace each value by its JSON type; the members of an array that have one shape are one."""
    if isinstance(value, dict):
        return {
            name if _MEMBER.fullmatch(name) else "…": shape(inner) for name, inner in value.items()
        }
    if isinstance(value, list):
        shapes = [shape(inner) for inner in value]
        return [it for n, it in enumerate(shapes) if it not in shapes[:n]]
    types = {bool: "boolean", str: "string", type(None): "null"}
    return types.get(type(value), "number")


@dataclass
class Findings:
    """What was found out."""

    doctor: dict[str, str] = field(default_factory=dict)
    send: Send | None = None
    """The send of the SMS, as the ledger has it."""
    statuses: set[str] = field(default_factory=set)
    """All that its delivery had while it was polled."""
    phone: str = ""
    """What the person saw: 1 the text, 2 another text, 3 nothing."""
    message_id: str = ""
    answers: dict[str, Answer] = field(default_factory=dict)
    """The last response to each call, by what the call is about."""
    secrets: set[str] = field(default_factory=set)
    """What the report must not contain."""


# How each assumption is judged. True: confirmed; False: refuted; a text: untested, and the reason.


def _several_reasons(found: Findings) -> bool:
    return len(found.answers["two-mistakes"].errors) > 1


def _window_over_midnight(found: Findings) -> bool | str:
    if not _several_reasons(found):
        return "Marketing Cloud names one reason at a time, here the missing recipients."
    return found.answers["window-over-midnight"].errors == found.answers["no-recipients"].errors


def _field_casing(found: Findings) -> bool | str:
    if error_messages.OVERRIDE_BLANK in found.answers["blank-text"].errors:
        return True
    if not _several_reasons(found):
        return "Marketing Cloud names one reason at a time, here the missing recipients."
    return False


def _token_response(found: Findings) -> bool | str:
    answer = found.answers["token"]
    if answer.status != HTTPStatus.OK:
        return "Marketing Cloud issued no token with the scope sms_read only."
    token, lifetime = (answer.document.get(name) for name in ("access_token", "expires_in"))
    return (
        isinstance(token, str)
        and len(token) <= MAX_TOKEN
        and lifetime in LIFETIMES
        and isinstance(answer.document.get("rest_instance_url"), str)
    )


def _missing_scope(found: Findings) -> bool | str:
    if "missing-scope" not in found.answers:
        return "Marketing Cloud issued no token with the scope sms_read only."
    answer = found.answers["missing-scope"]
    code = answer.document.get("errorcode")
    return (answer.status, code) == (HTTPStatus.FORBIDDEN, MISSING_SCOPE)


def _has_platform_error(answer: Answer, status: int) -> bool:
    return answer.status == status and type(answer.document.get("errorcode")) is int


def _other_content_type(found: Findings) -> bool:
    answer = found.answers["other-content-type"]
    is_client_error = HTTPStatus.BAD_REQUEST <= answer.status < HTTPStatus.INTERNAL_SERVER_ERROR
    return is_client_error and (bool(answer.errors) or "errorcode" in answer.document)


def _client_refused(found: Findings) -> bool:
    answer = found.answers["client-refused"]
    is_documented = answer.status in {HTTPStatus.BAD_REQUEST, HTTPStatus.UNAUTHORIZED}
    return is_documented and answer.document.get("error") == "invalid_client"


def _send_accepted(found: Findings) -> bool | str:
    send = found.send
    if send is None:
        return "The stack did not store the message: look at the log of its queue worker."
    if send.status in ACCEPTED_STATUSES:
        return send.token_id is not None
    if send.reason == "unexpected-success":
        return False
    return " ".join((f"The send is {send.status}.", *without(send.errors, found.secrets)))


def _message_text(found: Findings) -> bool | str:
    return {"1": True, "2": False}.get(found.phone, "The person saw no SMS.")


def _report(found: Findings) -> dict[str, Any]:
    return found.answers["poll"].document if "poll" in found.answers else {}


def _rows(found: Findings) -> list[dict[str, Any]]:
    rows = _report(found).get("tracking")
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []


def _delivery_report(found: Findings) -> bool:
    answer, rows = found.answers["poll"], _rows(found)
    return (
        answer.status == HTTPStatus.OK
        and isinstance(answer.document.get("status"), str)
        and type(answer.document.get("count")) is int
        and rows == answer.document.get("tracking")
        and all({"mobileNumber", "standardStatusCode"} <= row.keys() for row in rows)
    )


def _delivery_statuses(found: Findings) -> bool | str:
    return found.statuses <= STATUSES if found.statuses else "There is no delivery report."


def _delivery_codes(found: Findings) -> bool | str:
    codes = {str(row.get("standardStatusCode")) for row in _rows(found)}
    if not codes:
        return "The delivery report has no row."
    return codes <= {str(code) for code in deliveries.DESCRIPTIONS}


def _unsubscribed_count(found: Findings) -> bool | str:
    document = _report(found)
    if str(document.get("status")) not in ENDED or document.get("count") != 0:
        return "Enter a number that has not subscribed to find out."
    return found.phone == "3"


def _message_id_form(found: Findings) -> bool:
    decoded = decode_message_id(found.message_id)
    return decoded is not None and (decoded.middle, decoded.last) == (78, 0)


JUDGED: Final[Mapping[str, tuple[str, Callable[[Findings], bool | str]]]] = {
    "refusal-shape": ("no-recipients", lambda it: it.answers["no-recipients"].is_refusal),
    "refusal-wording": (
        "no-recipients",
        lambda it: error_messages.NO_RECIPIENTS in it.answers["no-recipients"].errors,
    ),
    "several-reasons": ("two-mistakes", _several_reasons),
    "window-over-midnight": ("window-over-midnight", _window_over_midnight),
    "field-casing": ("blank-text", _field_casing),
    "wrong-message-id": ("wrong-message-id", lambda it: it.answers["wrong-message-id"].is_refusal),
    "other-content-type": ("other-content-type", _other_content_type),
    "token-refused": (
        "token-refused",
        lambda it: _has_platform_error(it.answers["token-refused"], HTTPStatus.UNAUTHORIZED),
    ),
    "missing-scope": ("missing-scope", _missing_scope),
    "unknown-route": (
        "unknown-route",
        lambda it: _has_platform_error(it.answers["unknown-route"], HTTPStatus.NOT_FOUND),
    ),
    "unknown-token-id": ("unknown-token-id", lambda it: it.answers["unknown-token-id"].is_refusal),
    "client-refused": ("client-refused", _client_refused),
    "token-response": ("token", _token_response),
    "send-accepted": ("", _send_accepted),
    "message-text": ("", _message_text),
    "message-id-form": ("", _message_id_form),
    "delivery-report": ("poll", _delivery_report),
    "delivery-statuses": ("poll", _delivery_statuses),
    "delivery-codes": ("poll", _delivery_codes),
    "unsubscribed-count": ("poll", _unsubscribed_count),
}
"""By the id of the assumption: the response that is evidence, and the judgement."""

NOT_ASKED: Final[Mapping[str, str]] = {
    "trailing-comma": "The stack makes the send and keeps the tokenId only.",
    "one-bad-number": "The call needs a good number as well, so it could send a second SMS.",
    "number-cap": "Only a send to 250 numbers shows that 250 are accepted.",
    "subscribers": "A call that Marketing Cloud accepts sends a second SMS.",
    "subscription": "A call that Marketing Cloud accepts sends a second SMS.",
    "send-time": "A call that Marketing Cloud accepts sends a second SMS.",
    "window-offset": "A call that Marketing Cloud accepts sends a second SMS.",
    "no-deduplication": "The same send twice could send two SMS.",
    "expired-token": "A token lasts about 18 minutes.",
    "rate-limit": "Asking takes so many calls that Marketing Cloud may block the account.",
    "foreign-responses": "Gateways respond in this way only during an outage.",
    "staged-secret": "A person must generate the secret: `smsrelay credentials stage` measures it.",
    "secret-lifetime": "It takes 180 days.",
    "api-volume": "Marketing Cloud shows the volume later, in its web interface.",
}
"""By the id of the assumption: why this command does not ask."""


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


def _ask(question: str, accepted: str = ".+", *, is_secret: bool = False) -> str:
    """Ask until the answer matches a regular expression.

    Raises:
        UsageError: the input ended.
    """
    while True:
        line = entered_line(question, is_secret=is_secret)
        if not line:
            raise UsageError(f"the input ended at: {question.strip()}")
        if re.fullmatch(accepted, line.strip()):
            return line.strip()


class FirstContact:
    """The steps against a stack that is deployed."""

    def __init__(self, target: DeployedStack, number: str, found: Findings) -> None:
        self.target = target
        self._number = number
        self._found = found
        self._client = httpx.Client(trust_env=False, follow_redirects=False, timeout=TIMEOUT)
        self._hosts = AllowedHosts(target.parameters["UpstreamHosts"])
        found.secrets |= {number, found.message_id, TEXT}

    @cached_property
    def _tokens(self) -> CachedTokenSource:
        """The access token of the stack; its base URL is a host that the stack may call."""
        target = self.target
        return CachedTokenSource(
            target.client("secretsmanager"),
            target.token_secret,
            target.parameters["RestBaseUrl"],
            self._hosts,
            LambdaTokenRenewal(lambda: target.client("lambda"), ""),
            time.time,
        )

    def run(self) -> None:
        """Run all steps; what each finds is in the findings as soon as it is known."""
        if not self.target.is_local:
            self.store_credentials()
        self._ask_doctor()
        self._send()
        with self._client:
            self._poll()
            self._make_refused_calls()
            self._ask_for_tokens()
        self._found.phone = self.ask_what_the_phone_shows()

    @staticmethod
    def ask_what_the_phone_shows() -> str:
        """Return 1, 2 or 3, as the person answers."""
        question = f"What does the phone show? 1: {TEXT!r}, 2: another text, 3: nothing. "
        return _ask(question, "[123]")

    def store_credentials(self) -> None:
        """Ask for the client credentials until the stack gets an access token with them."""
        while True:
            print("Enter the client credentials (docs/marketing-cloud.md#client-credentials).")
            fields = {
                "client_id": _ask("Client id: "),
                "client_secret": _ask("Client secret (not shown): ", is_secret=True),
                "auth_base_url": _ask("Authentication base URI: "),
            }
            if mid := _ask("MID of the business unit (Enter: that of the package): ", ".*"):
                fields["account_id"] = mid
            try:
                parse_credentials(json.dumps(fields), self._hosts)
            except CredentialsUnusableError as error:
                print(f"{error}. Enter them again.")
                continue
            CredentialsSecret(self.target).store(fields)
            response = self.target.client("lambda").invoke(
                FunctionName=self.target.token_renewer, Payload="{}"
            )
            result = json_object(response["Payload"].read().decode())
            if result.get("did") in {"renewed", "kept"}:
                return
            print(f"The stack got no token: {result.get('reason', 'see the log of its renewer')}.")

    def _ask_doctor(self) -> None:
        printed = StringIO()
        with redirect_stdout(printed):
            doctor(self.target, Namespace(json=True), time.time())
        for check in json.loads(printed.getvalue())["checks"]:
            print(f"doctor: {check['check']}: {check['finding']}")
            self._found.doctor[check["check"]] = check["state"]

    def _send(self) -> None:
        """Send the SMS through the queue of the stack, and wait for the result."""
        key = f"first-contact-{uuid.uuid4()}"
        body = {"message": self._found.message_id, "to": [self._number], "text": TEXT}
        self.target.sqs.send_message(
            QueueUrl=self.target.queue_url,
            MessageBody=json.dumps(body),
            MessageAttributes={KEY_ATTRIBUTE: {"DataType": "String", "StringValue": key}},
        )
        message = ids.message_id("", key)

        def has_ended() -> bool:
            sends = self.target.ledger.load(message)
            self._found.send = sends[0] if sends else None
            if refusal := self.target.ledger.load_refusal(message):
                codes = ", ".join(it.code for it in refusal.refusals)
                raise CommandError(f"the stack refused the message: {codes}")
            waiting = {Status.QUEUED, Status.SENDING}
            return self._found.send is not None and self._found.send.status not in waiting

        print("waiting for the stack to send the SMS …")
        with suppress(TimeoutError):
            wait_for(has_ended, what="the send", seconds=SEND_SECONDS, every=SEND_INTERVAL)

    def _poll(self) -> None:
        send = self._found.send
        if send is None or send.token_id is None:
            return
        self._found.secrets.add(send.token_id)
        path = f"deliveries/{quote(send.token_id, safe='')}"

        def has_ended() -> bool:
            self._call("poll", "GET", path)
            if status := _report(self._found).get("status"):
                self._found.statuses.add(str(status))
            return bool(self._found.statuses & ENDED)

        print("polling the delivery …")
        with suppress(TimeoutError):
            wait_for(has_ended, what="the report", seconds=POLL_SECONDS, every=POLL_INTERVAL)

    def _make_refused_calls(self) -> None:
        """Make the calls that Marketing Cloud refuses: no send has a recipient."""
        print("making calls that Marketing Cloud refuses …")
        window = {"UtcOffset": "-0500", "WindowStart": "2100", "WindowEnd": "0800"}
        send = partial(self._call, method="POST", path="send")
        send("no-recipients", body=NO_RECIPIENTS)
        send(
            "two-mistakes", body=NO_RECIPIENTS | {"blackoutWindow": window | {"UtcOffset": "-9900"}}
        )
        send("window-over-midnight", body=NO_RECIPIENTS | {"blackoutWindow": window})
        send("blank-text", body=NO_RECIPIENTS | {"Override": True, "messageText": " "})
        send("wrong-message-id", body=NO_RECIPIENTS, message_id="first.contact")
        send("other-content-type", body=NO_RECIPIENTS, content_type="text/plain")
        send("token-refused", body=NO_RECIPIENTS, token=uuid.uuid4().hex)
        self._call("unknown-route", "GET", "first-contact")
        self._call("unknown-token-id", "GET", "deliveries/first-contact")

    def _ask_for_tokens(self) -> None:
        """Request a token as an unknown client, then one that may not send, and send with it."""
        stored = json.dumps(CredentialsSecret(self.target).load())
        credentials = parse_credentials(stored, self._hosts)
        self._found.secrets |= {credentials.client_id, credentials.client_secret}
        self._found.secrets |= {credentials.auth_base_url, credentials.account_id or ""}
        unknown = replace(credentials, client_id=uuid.uuid4().hex, client_secret=uuid.uuid4().hex)
        self._request_token("client-refused", unknown)
        answer = self._request_token("token", replace(credentials, scope="sms_read"))
        token = answer.document.get("access_token") if answer else None
        if isinstance(token, str):
            self._found.secrets.add(token)
            self._call("missing-scope", "POST", "send", NO_RECIPIENTS, token=token)

    def _call(  # noqa: PLR0913 - what is wrong with a call is in one of its parts
        self,
        name: str,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        message_id: str = "",
        content_type: str = "application/json",
        token: str = "",
    ) -> None:
        """Call the REST API below a message id, by default with the token of the stack."""
        credentials = self._tokens.current()
        self._found.secrets |= {credentials.access_token, credentials.base_url}
        contact = quote(message_id or self._found.message_id, safe="")
        request = self._client.build_request(
            method,
            f"{credentials.base_url}/sms/v1/messageContact/{contact}/{path}",
            content=None if body is None else json.dumps(body),
            headers={
                "Authorization": f"Bearer {token or credentials.access_token}",
                "Content-Type": content_type,
            },
        )
        self._exchange(name, request)

    def _request_token(self, name: str, credentials: ClientCredentials) -> Answer | None:
        url = f"{credentials.auth_base_url}/v2/token"
        return self._exchange(
            name, self._client.build_request("POST", url, json=credentials.request())
        )

    def _exchange(self, name: str, request: httpx.Request) -> Answer | None:
        """Make a call, and keep its response; None: there is no response."""
        try:
            response = self._client.send(request)
        except httpx.HTTPError as error:
            print(f"{name}: no response ({type(error).__name__})")
            return None
        content_type = response.headers.get("content-type", "")
        answer = Answer(response.status_code, content_type, response.content)
        self._found.answers[name] = answer
        return answer


def new_stage(name: str) -> deploy.Stage:
    """Return a stage of samconfig.toml.

    Raises:
        UsageError: it has a stack already, which must not be deleted.
    """
    stage = deploy.load(name)
    with suppress(deploy.DeployError):
        stage.describe()
        raise UsageError(f"{stage.stack_name} exists already: use a stage that has no stack")
    return stage


@contextmanager
def _signals_interrupt() -> Iterator[None]:
    """Raise KeyboardInterrupt on SIGTERM and SIGHUP, which otherwise skip each `finally`."""
    numbers = (signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(number, signal.default_int_handler) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


@contextmanager
def deployed(stage: deploy.Stage) -> Iterator[DeployedStack]:
    """Deploy the stack of a stage, and delete it at the end."""
    is_deleted = False
    with _signals_interrupt():
        try:
            deploy.deploy(stage)
            try:
                print("\nDon't run these commands: first contact does the same.\n")
                yield _find(
                    stack_name=stage.stack_name,
                    region=stage.session.region_name,
                    profile=stage.settings.get("profile"),
                )
            finally:
                deploy.delete(stage, yes=True)
                is_deleted = True
        finally:
            if not is_deleted:
                print(
                    f"{stage.stack_name} may still exist: run `make delete STAGE={stage.name}`",
                    file=sys.stderr,
                )


def _find(**options: object) -> DeployedStack:
    names = ("stack_file", "stack_name", "region", "profile")
    return find_stack(Namespace(local=False, **{**dict.fromkeys(names), **options}))


def first_contact(options: Namespace) -> int:
    """Ask for number and message id, run all steps, and write the report."""
    is_local = options.stack_file is not None
    stack: AbstractContextManager[DeployedStack]
    if is_local:
        stack, steps = nullcontext(_find(stack_file=options.stack_file)), "sends"
    else:
        stage = new_stage(options.stage)
        stack, steps = deployed(stage), f"deploys {stage.stack_name}, deletes it later, and sends"
    try:
        number = normalize(read_line("Number of a phone at hand, such as +12125550100: "))
    except PydanticCustomError as error:
        raise UsageError(f"this is not a number: {error.message()}") from None
    found = Findings(message_id=read_line("Id of the message, such as MzA6Nzg6MA: "))
    if not MESSAGE_ID.fullmatch(found.message_id):
        raise UsageError("this is not a message id: docs/marketing-cloud.md#the-messages-id")
    confirm(f"This {steps} ONE SMS to this number, which costs money. Go on?", yes=False)
    try:
        with stack as target:
            FirstContact(target, number, found).run()
    finally:
        report = report_of(found, is_local=is_local)
        options.report.parent.mkdir(parents=True, exist_ok=True)
        options.report.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n")
    for row in report["assumptions"]:
        print(f"{row['verdict']:<10} {row['id']:<21} {row.get('reason', '')}".rstrip())
    counts = Counter(row["verdict"] for row in report["assumptions"])
    summary = ", ".join(f"{counts[it]} {it}" for it in (CONFIRMED, REFUTED, UNTESTED))
    print(f"{summary}: {options.report}")
    return FAILED if counts[REFUTED] else DONE


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command, and return its exit code: 1 if an assumption is refuted."""
    parser = argparse.ArgumentParser(prog="python -m tools.first_contact", description=__doc__)
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("stage", nargs="?", metavar="STAGE", help="of samconfig.toml, not deployed")
    where.add_argument(
        "--stack-file", type=Path, metavar="FILE", help="use the local stack of this stack.json"
    )
    parser.add_argument("--report", type=Path, default=REPORT, metavar="FILE")
    try:
        return first_contact(parser.parse_args(arguments))
    except CommandError as error:
        print(f"first contact: {error}", file=sys.stderr)
        return error.code
    except (deploy.DeployError, RelayError) as error:
        print(f"first contact: {error}", file=sys.stderr)
    except (BotoCoreError, ClientError) as error:
        # Its text may repeat what was stored or sent.
        print(f"first contact: {next(described(error))}", file=sys.stderr)
    except KeyboardInterrupt:
        print("\nfirst contact: interrupted", file=sys.stderr)
        return deploy.INTERRUPTED
    return FAILED


if __name__ == "__main__":
    sys.exit(main())
