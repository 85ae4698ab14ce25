"""Runs the functions in process: the real handlers, with moto as AWS and the simulator."""

import importlib.util
import json
import os
import random
import sys
import threading
import time
import uuid
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from types import ModuleType
from typing import Any
from unittest.mock import patch

import boto3
import botocore.session
from botocore import loaders
from botocore.awsrequest import AWSPreparedRequest
from botocore.hooks import EventAliaser, HierarchicalEmitter
from moto import mock_aws
from moto.core.botocore_stubber import BotocoreStubber
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.core.serialize import AttributePickerContext, XFormedAttributePicker
from moto.core.utils import method_names_from_class
from moto.dynamodb.models import dynamodb_backends
from moto.dynamodb.models.table import Table
from moto.sqs.models import sqs_backends

from smsrelay.adapters.boto_clients import BotoClients
from smsrelay.adapters.dynamodb_api_clients import DynamoDbApiClients
from smsrelay.adapters.dynamodb_ledger import DynamoDbLedger
from smsrelay.errors import LedgerUnavailableError
from smsrelay.messages.request import ClientLimits
from smsrelay.services.api_clients import principal
from smsrelay.services.upstream_pause import UpstreamPause
from smsrelay.wiring import (
    api,
    callback_sender,
    delivery_poller,
    event_publisher,
    queue_worker,
    sending,
    sweeper,
    token_renewer,
    webhook,
)
from tests.support import contract, permissions
from tests.support.aws_calls import record, stream_records
from tests.support.gateway_events import DEFAULT_ENDPOINT, Endpoint
from tests.support.signatures import signed_headers
from tests.support.template import ROOT, properties, variables
from tools.local_stack.signing_secrets import new_signing_secret

REGION = "eu-central-1"
CLIENT = "web-shop"
DEFAULT_CLIENT = "internal"
ACCESS_TOKEN = "first-access-token"
VIEW = "NEW_AND_OLD_IMAGES"
RECIPIENT_KEY = "key-of-the-recipients-hashes"

Json = dict[str, Any]


class Context:
    """The parts of Lambda's context that a handler uses; a test can set the `remaining` seconds."""

    function_name = "function"
    memory_limit_in_mb = 1024
    invoked_function_arn = f"arn:aws:lambda:{REGION}:123456789012:function:function"

    def __init__(self, remaining: float = 28.0) -> None:
        self.aws_request_id = str(uuid.uuid4())
        self.remaining = remaining

    def get_remaining_time_in_millis(self) -> int:
        return int(self.remaining * 1000)


@dataclass
class HttpAnswer:
    status: int
    headers: Mapping[str, str]
    body: Json


@dataclass
class Environment:
    """A relay with its own table and queues."""

    table: str
    queue_url: str
    dead_letter_queue_url: str
    secret: str
    api: ModuleType
    worker: ModuleType
    sweeper: ModuleType
    token: ModuleType
    status: ModuleType
    iam: ModuleType
    webhook: ModuleType
    events: ModuleType
    callback: ModuleType
    slept: list[float] = field(default_factory=list, kw_only=True)
    """Seconds that the worker slept; a sleep returns at once."""
    with_key: set[str] = field(default_factory=set, kw_only=True)
    """The clients that have an API key."""
    endpoint: Endpoint = field(default=DEFAULT_ENDPOINT, kw_only=True)
    """The address to which requests are sent."""

    def client(self, service: str) -> Any:
        return client_of(service)

    def key_of(self, client: str) -> str:
        """Return the id of a client's API key; the first call registers it."""
        key_id = f"key-of-{client}"
        if client not in self.with_key:
            DynamoDbApiClients(self.client("dynamodb"), self.table).put(key_id, client)
            self.with_key.add(client)
        return key_id

    def allow(self, client: str, credential: str) -> None:
        """Register a client's key id or principal, which need not exist."""
        names = DynamoDbApiClients(self.client("dynamodb"), self.table)
        names.put(principal(credential), client)

    def set_limits(self, client: str, limit: int = 1_000, only_to: Collection[str] = ()) -> None:
        """Store which recipients, and how many, a request of a client may have."""
        names = DynamoDbApiClients(self.client("dynamodb"), self.table)
        names.put_limits(client, ClientLimits(limit, only_to))

    def post(
        self,
        body: object,
        *,
        headers: Mapping[str, str] | None = None,
        path: str = "/messages",
        client: str = CLIENT,
        key_id: str | None = None,
        remaining: float = 28.0,
    ) -> HttpAnswer:
        sent = {"Content-Type": "application/json", **(headers or {})}
        text = body if isinstance(body, str) or body is None else json.dumps(body)
        return self._call("POST", path, sent, text, client, key_id, remaining)

    def get(self, path: str, *, client: str = CLIENT, key_id: str | None = None) -> HttpAnswer:
        return self._call("GET", path, {}, None, client, key_id)

    def delete(self, path: str, *, client: str = CLIENT) -> HttpAnswer:
        return self._call("DELETE", path, {}, None, client)

    def _call(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: str | None,
        client: str,
        key_id: str | None = None,
        remaining: float = 28.0,
    ) -> HttpAnswer:
        answer = self.raw(
            method,
            path,
            headers=headers,
            body=body,
            client=client,
            key_id=key_id,
            remaining=remaining,
        )
        headers = {
            name: values[0] for name, values in answer.get("multiValueHeaders", {}).items()
        } | answer.get("headers", {})
        response = HttpAnswer(answer["statusCode"], headers, json.loads(answer["body"]))
        route = path.removeprefix("/iam").partition("?")[0]
        contract.assert_conforms(method, route, response.status, response.headers, response.body)
        return response

    def raw(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str],
        body: str | None = None,
        client: str = CLIENT,
        key_id: str | None = None,
        remaining: float = 28.0,
    ) -> Json:
        """Return the function's response to API Gateway, which decodes a URL's query first.

        The request has the client's own key, or the key of `key_id`. Below /iam, `client` is the
        caller's ARN.
        """
        function, identity = self.api, dict[str, str]()
        if path.startswith("/iam/"):
            function, identity = self.iam, {"userArn": client}
        elif path.startswith("/webhooks/"):
            function = self.webhook
        else:
            identity = {"apiKeyId": key_id or self.key_of(client)}
        event = self.endpoint.event(method, path, headers=headers, body=body, identity=identity)
        answer: Json = function.handler(event, Context(remaining))
        return answer

    def post_webhook(
        self,
        client: str,
        secret: str,
        body: object,
        *,
        webhook_id: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> HttpAnswer:
        """Post a webhook that `client` signs with its secret now."""
        text = body if isinstance(body, str) else json.dumps(body)
        signed = signed_headers(secret, text, webhook_id or f"msg_{uuid.uuid4()}")
        sent = {"Content-Type": "application/json", **signed, **(headers or {})}
        return self._call("POST", f"/webhooks/{client}", sent, text, client)

    def put_webhook_secret(self, client: str, **fields: str) -> str:
        """Store a client's webhook secrets, by default a new one; return the current one."""
        fields = fields or {"current": new_signing_secret()}
        name, value = f"{os.environ['WEBHOOK_SECRET_PREFIX']}{client}", json.dumps(fields)
        store = self.client("secretsmanager")
        try:
            store.create_secret(Name=name, SecretString=value)
        except store.exceptions.ResourceExistsException:
            store.put_secret_value(SecretId=name, SecretString=value)
        return fields["current"]

    def work(self, remaining: float = 60.0) -> list[str]:
        """Invoke the worker with visible messages; return the ids of those that come back."""
        return self._hand(self.queue_url, self.worker, remaining)

    def hand_worker(self, records: list[Json]) -> Json:
        """Invoke the worker with these records, as Lambda does."""
        answer: Json = self.worker.handler({"Records": records}, Context(60.0))
        return answer

    def _hand(self, url: str, function: ModuleType, remaining: float) -> list[str]:
        """Invoke a function with visible messages of its queue, as Lambda does."""
        sqs = self.client("sqs")
        messages = sqs.receive_message(
            QueueUrl=url,
            MaxNumberOfMessages=10,
            MessageAttributeNames=["All"],
            MessageSystemAttributeNames=["All"],
        ).get("Messages", [])
        if not messages:
            return []
        event = {"Records": [record(message) for message in messages]}
        answer = function.handler(event, Context(remaining))
        failed = {entry["itemIdentifier"] for entry in answer["batchItemFailures"]}
        done = [
            {"Id": message["MessageId"], "ReceiptHandle": message["ReceiptHandle"]}
            for message in messages
            if message["MessageId"] not in failed
        ]
        if done:
            sqs.delete_message_batch(QueueUrl=url, Entries=done)
        return sorted(failed)

    def sweep(self) -> dict[str, int]:
        """Invoke the sweeper, and return what it recovered."""
        recovered: dict[str, int] = self.sweeper.handler({}, Context(55.0))
        return recovered

    def follow(self, remaining: float = 55.0) -> Json:
        """Invoke the delivery poller, and return what it reported."""
        reported: Json = self.status.handler({}, Context(remaining))
        return reported

    def restart_delivery_poller(self) -> None:
        """Start the delivery poller again without its caches, as in a new environment."""
        _start_again(delivery_poller)

    def forget(self) -> None:
        """Start the sending functions again without their caches, as in new environments."""
        _start_again(*_SENDING)

    def delete_items(self) -> None:
        """Delete all messages' items, as an operator might while a handler runs."""
        with permissions.calls_of("operator"):
            for item in self.items():
                key = {name: item[name] for name in ("pk", "sk")}
                self.client("dynamodb").delete_item(TableName=self.table, Key=key)

    def forget_messages(self) -> None:
        """Delete all messages directly in moto, whose queries read all items."""
        items = dynamodb_backends[DEFAULT_ACCOUNT_ID][REGION].get_table(self.table).items
        for key in [key for key in items if key.value.startswith("MSG#")]:
            del items[key]

    @contextmanager
    def ledger_refuses_writes(self) -> Iterator[None]:
        """Let the ledger refuse to replace sends; reading works."""
        refused = LedgerUnavailableError("refused by a test")
        with patch.object(DynamoDbLedger, "replace_if_unchanged", side_effect=refused):
            yield

    def stream(self) -> list[Json]:
        """Return the records of the ledger's stream, as Lambda passes them to a function."""
        return stream_records(self.client("dynamodbstreams"), self.table)

    def tell(self, records: list[Json] | None = None) -> None:
        """Invoke the event publisher with records of the stream, by default with all of them."""
        self.events.handler({"Records": self.stream() if records is None else records}, Context())

    def call_back(self, remaining: float = 30.0) -> list[str]:
        """Invoke the callback sender with visible messages; return the ids that come back."""
        url = os.environ["CALLBACK_QUEUE_URL"]
        return self._hand(url, self.callback, remaining)

    def renew(self, event: Json | None = None) -> Json:
        """Invoke the token renewer, by default as its schedule does."""
        done: Json = self.token.handler(event or {}, Context(55.0))
        return done

    def change(self, **values: str | float) -> None:
        """Change attributes of the only item, as another process would."""
        [item] = self.items()
        self.client("dynamodb").update_item(
            TableName=self.table,
            Key={"pk": item["pk"], "sk": item["sk"]},
            UpdateExpression="SET " + ", ".join(f"#{name} = :{name}" for name in values),
            ExpressionAttributeNames={f"#{name}": name for name in values},
            ExpressionAttributeValues={
                f":{name}": {"S": value} if isinstance(value, str) else {"N": str(value)}
                for name, value in values.items()
            },
        )

    @contextmanager
    def queue_away(self) -> Iterator[None]:
        """Make the queue unavailable to the relay, but not to the test."""
        queue = sending.parts().queue
        with patch.object(queue, "_url", f"{self.queue_url}-away"):
            yield

    @contextmanager
    def default_client(self, name: str) -> Iterator[None]:
        """Change `DefaultClient` for the block, as a deployment does."""
        with self.deployed(DEFAULT_CLIENT=name):
            yield

    @contextmanager
    def deployed(self, **variables: str) -> Iterator[None]:
        """Change variables and restart the sending functions, as a deployment does."""
        with patch.dict(os.environ, variables):
            _start_again(*_SENDING)
            yield
        _start_again(*_SENDING)

    def enqueue(self, body: object, attributes: Mapping[str, str] | None = None) -> str:
        answer = self.client("sqs").send_message(
            QueueUrl=self.queue_url,
            MessageBody=body if isinstance(body, str) else json.dumps(body),
            MessageAttributes={
                name: {"DataType": "String", "StringValue": value}
                for name, value in (attributes or {}).items()
            },
        )
        message_id: str = answer["MessageId"]
        return message_id

    def dead_letters(self) -> list[Json]:
        """Return the dead letters: body, and message attributes as strings."""
        answer = self.client("sqs").receive_message(
            QueueUrl=self.dead_letter_queue_url,
            MaxNumberOfMessages=10,
            MessageAttributeNames=["All"],
            VisibilityTimeout=0,
        )
        return [
            {
                "body": message["Body"],
                **{
                    name: value["StringValue"]
                    for name, value in message.get("MessageAttributes", {}).items()
                },
            }
            for message in answer.get("Messages", [])
        ]

    def show_all(self, url: str | None = None) -> None:
        """Make every message of the queue visible now."""
        name = (url or self.queue_url).rpartition("/")[2]
        queue = sqs_backends[DEFAULT_ACCOUNT_ID][REGION].queues[name]
        for message in queue._messages:  # noqa: SLF001 - moto has no way to let time pass
            message.delayed_until = 0
            message.change_visibility(0)

    def end_pauses(self) -> None:
        """End the pauses of upstream calls, as a new environment does."""
        sender = sending.parts().sender
        vars(sender)["_upstream_pause"] = UpstreamPause(time.time, random.random)

    def sleep(self, seconds: float) -> None:
        """Record a worker's sleep, and end the throttling pause."""
        self.slept.append(seconds)
        vars(vars(sending.parts().sender)["_upstream_pause"])["_throttled_until"] = 0.0

    def make_due(self) -> None:
        """End all pauses, make every send due, and its message visible."""
        self.end_pauses()
        for item in self.items():
            self.client("dynamodb").update_item(
                TableName=self.table,
                Key={"pk": item["pk"], "sk": item["sk"]},
                UpdateExpression="SET dueAt = :past",
                ExpressionAttributeValues={":past": {"N": "1"}},
            )
        self.show_all()

    def make_too_old(self) -> None:
        """Make every queued send older than MaxAgeHours, and its message visible."""
        for item in self.items():
            if item.get("status") == {"S": "queued"}:
                self.client("dynamodb").update_item(
                    TableName=self.table,
                    Key={"pk": item["pk"], "sk": item["sk"]},
                    UpdateExpression="SET dueAt = :past, createdAt = :past, resentAt = :past",
                    ExpressionAttributeValues={":past": {"N": "1"}},
                )
        self.show_all()

    def begin_elsewhere(self, lease: float) -> None:
        """Write the claim of another process, whose lease ends after `lease` seconds."""
        [item] = self.items()
        self.change(
            status="sending",
            attempts=1,
            dueAt=float(item["updatedAt"]["N"]) + lease,
            owner="another-process",
        )

    def waiting(self) -> int:
        """Return the number of messages in the queue: visible, delayed and in flight."""
        names = (
            "ApproximateNumberOfMessages",
            "ApproximateNumberOfMessagesDelayed",
            "ApproximateNumberOfMessagesNotVisible",
        )
        attributes = self.client("sqs").get_queue_attributes(
            QueueUrl=self.queue_url, AttributeNames=list(names)
        )["Attributes"]
        return sum(int(attributes[name]) for name in names)

    def items(self) -> list[Json]:
        """Return the ledger's items of messages, in DynamoDB's notation."""
        items: list[Json] = self.client("dynamodb").scan(TableName=self.table)["Items"]
        others = ("CLIENT#", "BUDGET", "PAUSES", "TOKEN")
        kept = [item for item in items if not item["pk"]["S"].startswith(others)]
        return sorted(kept, key=lambda item: (item["pk"]["S"], item["sk"]["S"]))

    def put_credentials(self, **fields: object) -> None:
        """Store the client credentials, or invalid JSON without any."""
        self.client("secretsmanager").put_secret_value(
            SecretId=os.environ["CREDENTIALS_SECRET_ARN"],
            SecretString=json.dumps(fields) if fields else "{",
        )

    def put_catalogue(self, document: object) -> None:
        """Put a catalogue into the parameter, or a text that need not be one."""
        self.client("ssm").put_parameter(
            Name=os.environ["CATALOGUE_PARAMETER"],
            Value=document if isinstance(document, str) else json.dumps(document),
            Type="String",
            Overwrite=True,
        )

    def put_secret(self, value: str) -> None:
        self.client("secretsmanager").put_secret_value(SecretId=self.secret, SecretString=value)


@cache
def client_of(service: str) -> Any:
    """Return a client for the test's own calls."""
    factory: Any = boto3.client  # its types need the service's name as a literal
    return factory(service, region_name=REGION)


def _all_items(table: Any) -> list[Any]:
    """Return a table's items sorted by their string keys; moto's own comparison is slow."""
    items = [item for group in table.items.values() for item in group.values()]
    return sorted(items, key=lambda item: (item.hash_key.value, item.range_key.value))


@contextmanager
def simulated_aws() -> Iterator[None]:
    """Start moto, for all relays of a session."""
    credentials = {
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": REGION,
    }
    # The lock makes a conditional write atomic, as in DynamoDB. Without it, two threads can both
    # win a claim in moto.
    process, lock = BotocoreStubber.process_request, threading.RLock()
    # All relays share one session, because each session of botocore parses megabytes of JSON about
    # the services, and registers hundreds of handlers.
    one_loader, one_session = cache(loaders.create_loader), cache(botocore.session.Session)
    # moto and botocore compute these names again for each call, which takes a third of its time.
    aliaser: Any = EventAliaser(HierarchicalEmitter())
    alias = cache(aliaser._alias_event_name)  # noqa: SLF001 - has no public name
    keys_of, cached = XFormedAttributePicker.get_possible_keys, dict[Any, list[str]]()

    def possible_keys(picker: Any, context: AttributePickerContext) -> list[str]:
        place = type(context.obj), context.shape, context.key
        if place not in cached:
            cached[place] = list(keys_of(picker, context))
        return cached[place]

    def process_alone(stubber: BotocoreStubber, request: AWSPreparedRequest) -> Any:
        with lock:
            return process(stubber, request)

    with (
        patch.object(BotocoreStubber, "process_request", process_alone),
        patch("botocore.session.create_loader", one_loader),
        patch.object(BotoClients, "__init__", lambda it: setattr(it, "_session", one_session())),
        patch.object(EventAliaser, "_alias_event_name", lambda _, name: alias(name)),
        patch.object(XFormedAttributePicker, "get_possible_keys", possible_keys),
        patch("moto.core.responses.method_names_from_class", cache(method_names_from_class)),
        patch.object(Table, "all_items", _all_items),
        patch.dict(os.environ, credentials),
        mock_aws(),
        permissions.watching(),
    ):
        yield
    client_of.cache_clear()


@contextmanager
def running(simulator_url: str, **overrides: str) -> Iterator[Environment]:
    """Set up a relay like the template's; `overrides` are environment variables."""
    name = f"relay-{uuid.uuid4()}"
    sqs, store = client_of("sqs"), client_of("secretsmanager")
    queue_url = sqs.create_queue(
        QueueName=name,
        Attributes={"VisibilityTimeout": str(properties("Queue")["VisibilityTimeout"])},
    )["QueueUrl"]
    dead_letter_queue_url = sqs.create_queue(QueueName=f"{name}-dead-letters")["QueueUrl"]
    names = ("BillingMode", "AttributeDefinitions", "KeySchema", "GlobalSecondaryIndexes")
    ledger = properties("Ledger")
    # The table has a stream only if a test needs it, because moto's is slow.
    has_events = "EVENT_BUS" in overrides
    stream = {"StreamEnabled": has_events} | ({"StreamViewType": VIEW} if has_events else {})
    client_of("dynamodb").create_table(
        TableName=name, StreamSpecification=stream, **{key: ledger[key] for key in names}
    )
    secret = store.create_secret(
        Name=name,
        SecretString=json.dumps({"access_token": ACCESS_TOKEN, "rest_instance_url": simulator_url}),
    )["ARN"]
    credentials = store.create_secret(Name=f"{name}-credentials")["ARN"]
    key = store.create_secret(Name=f"{name}-recipients", SecretString=RECIPIENT_KEY)["ARN"]
    parts = {
        "CREDENTIALS_SECRET_ARN": credentials,
        "RECIPIENT_KEY_SECRET": key,
        "WEBHOOK_SECRET_PREFIX": f"{name}/webhooks/",
        "CALLBACK_SECRET_PREFIX": f"{name}/callbacks/",
    }
    settings = variables(
        table=name,
        queue_url=queue_url,
        dead_letter_queue_url=dead_letter_queue_url,
        token_secret=secret,
        **parts | overrides,
    )
    with patch.dict(os.environ, settings), _functions() as functions:
        relay = Environment(name, queue_url, dead_letter_queue_url, secret, *functions)
        relay.key_of(CLIENT)  # registered now, because a test may delete the table
        with patch.object(queue_worker, "_sleep", relay.sleep):
            yield relay


_SENDING = (sending, api, webhook, queue_worker, sweeper)
"""The functions that share the parts of `sending`."""
_OTHERS = (token_renewer, delivery_poller, callback_sender, event_publisher)


def _start_again(*wirings: ModuleType) -> None:
    """Let functions build their parts again, as in new environments."""
    for wiring in wirings:
        if wiring.parts.cache_info().currsize and "connections" in wiring.Parts._fields:
            wiring.parts().connections.close()
        wiring.parts.cache_clear()


@contextmanager
def _functions() -> Iterator[tuple[ModuleType, ...]]:
    _start_again(*_SENDING, *_OTHERS)
    try:
        common = (
            _load(name)
            for name in ("api", "queue_worker", "sweeper", "token_renewer", "delivery_poller")
        )
        yield (
            *common,
            _load("api", "IamFunction"),
            _load("webhook"),
            _load("event_publisher"),
            _load("callback_sender"),
        )
    finally:
        _start_again(*_SENDING, *_OTHERS)


def _load(name: str, function: str | None = None) -> ModuleType:
    """Import a function's module again, under a unique name, because each file is `app.py`."""
    spec = importlib.util.spec_from_file_location(
        f"{name}_app", ROOT / "functions" / name / "app.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    function = function or f"{name.title().replace('_', '')}Function"
    vars(module)["handler"] = permissions.watched(function, module.handler)
    return module
