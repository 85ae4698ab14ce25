"""The steps of first contact with a deployed stack."""

import json
import time
import uuid
from argparse import Namespace
from collections.abc import Mapping
from contextlib import redirect_stdout, suppress
from dataclasses import replace
from functools import cached_property, partial
from io import StringIO
from typing import Any, Final
from urllib.parse import quote

import httpx

from smsrelay.adapters.cached_token import CachedTokenSource
from smsrelay.adapters.lambda_token_renewal import LambdaTokenRenewal
from smsrelay.security.allowed_hosts import AllowedHosts
from smsrelay.sends import ids
from smsrelay.sends.queue_envelopes import KEY_ATTRIBUTE
from smsrelay.sends.send import Status
from smsrelay.tokens.token_response import ClientCredentials, parse_credentials
from smsrelay_cli.credentials import CredentialsSecret
from smsrelay_cli.deployed_stack import DeployedStack
from smsrelay_cli.doctor import doctor
from smsrelay_cli.exit_codes import CommandError
from tools.first_contact import questions
from tools.first_contact.findings import ENDED, Answer, Findings
from tools.first_contact.questions import TEXT
from tools.local_stack.polling import wait_for

TIMEOUT: Final = httpx.Timeout(30, connect=5)
SEND_SECONDS, SEND_INTERVAL = 120, 0.5
POLL_SECONDS, POLL_INTERVAL = 600, 15

NO_RECIPIENTS: Final[dict[str, Any]] = {"mobileNumbers": []}
"""The body of refused sends. Without recipients, an error of ours can't send an SMS."""


class FirstContact:
    """Runs the steps with a deployed stack."""

    def __init__(self, target: DeployedStack, number: str, found: Findings) -> None:
        self.target = target
        self._number = number
        self._found = found
        self._client = httpx.Client(trust_env=False, follow_redirects=False, timeout=TIMEOUT)
        self._hosts = AllowedHosts(target.parameters["UpstreamHosts"])
        found.secrets |= {number, found.message_id, TEXT}

    @cached_property
    def _tokens(self) -> CachedTokenSource:
        """The access token of the stack; its base URL must be an allowed host."""
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
        """Run all steps. Each stores its findings at once."""
        self._ask_doctor()
        self._send()
        with self._client:
            self._poll()
            self._make_refused_calls()
            self._ask_for_tokens()
        self._found.phone = questions.what_the_phone_shows()

    def store_credentials(self, fields: dict[str, str]) -> None:
        """Store the client credentials, and ask again until the stack gets an access token."""
        while True:
            secret = CredentialsSecret(self.target)
            secret.store(fields)
            result = secret.run_renewer({})
            if result.get("did") in {"renewed", "kept"}:
                return
            print(f"The stack got no token: {result.get('reason', 'see the log of its renewer')}.")
            fields = questions.client_credentials(self._hosts)

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
            if status := self._found.delivery_report.get("status"):
                self._found.statuses.add(str(status))
            return bool(self._found.statuses & ENDED)

        print("polling the delivery …")
        with suppress(TimeoutError):
            wait_for(has_ended, what="the report", seconds=POLL_SECONDS, every=POLL_INTERVAL)

    def _make_refused_calls(self) -> None:
        """Make calls that Marketing Cloud refuses, because no send has a recipient."""
        print("making calls that Marketing Cloud refuses …")
        day, night = (
            {"WindowStart": "1500", "WindowEnd": "2200"},
            {"UtcOffset": "-0500", "WindowStart": "2100", "WindowEnd": "0800"},
        )
        send = partial(self._call, method="POST", path="send")
        send("no-recipients", body=NO_RECIPIENTS)
        send(
            "two-mistakes", body=NO_RECIPIENTS | {"blackoutWindow": night | {"UtcOffset": "-9900"}}
        )
        send("window-over-midnight", body=NO_RECIPIENTS | {"blackoutWindow": night})
        send("window-without-offset", body=NO_RECIPIENTS | {"blackoutWindow": day})
        send("field-casing", body=NO_RECIPIENTS | {"Override": True, "messageText": " "})
        send("blank-keyword", body=NO_RECIPIENTS | {"Subscribe": True, "keyword": " "})
        send("bad-send-time", body=NO_RECIPIENTS | {"SendTime": "first-contact"})
        send("subscriber-fields", body={"Subscribers": [{}]})
        send("wrong-message-id", body=NO_RECIPIENTS, message_id="first.contact")
        send("other-content-type", body=NO_RECIPIENTS, content_type="text/plain")
        send("token-refused", body=NO_RECIPIENTS, token=uuid.uuid4().hex)
        self._call("unknown-route", "GET", "first-contact")
        self._call("unknown-token-id", "GET", "deliveries/first-contact")

    def _ask_for_tokens(self) -> None:
        """Request a token as an unknown client, then one without sms_send, and use it to send."""
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

    def _call(  # noqa: PLR0913 - each parameter is a part that can be wrong
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
        """Call a route of a message id, by default with the token of the stack."""
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
        """Make a call, and store and return its response, or None if there is none."""
        try:
            response = self._client.send(request)
        except httpx.HTTPError as error:
            print(f"{name}: no response ({type(error).__name__})")
            return None
        content_type = response.headers.get("content-type", "")
        answer = Answer(response.status_code, content_type, response.content)
        self._found.answers[name] = answer
        return answer
