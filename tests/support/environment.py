"""The functions in process: real handlers, AWS by moto, the upstream by the simulator."""

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
    """What a handler uses of Lambda's context; `remaining` seconds can be set by a test."""

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
    """One relay with its own table and queues."""

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
    """Seconds for which the worker held its messages back; they pass at once."""
    with_key: set[str] = field(default_factory=set, kw_only=True)
    """The clients that have an API key."""
    endpoint: Endpoint = field(default=DEFAULT_ENDPOINT, kw_only=True)
    """Where requests are sent."""

    def client(self, service: str) -> Any:
        return client_of(service)

    def key_of(self, client: str) -> str:
        """The id of a client's API key, which is registered when it is first asked for."""
        key_id = f"key-of-{client}"
        if client not in self.with_key:
            DynamoDbApiClients(self.client("dynamodb"), self.table).put(key_id, client)
            self.with_key.add(client)
        return key_id

    def allow(self, client: str, credential: str) -> None:
        """Register a key's id or a principal, which need not exist."""
        names = DynamoDbApiClients(self.client("dynamodb"), self.table)
        names.put(principal(credential), client)

    def set_limits(self, client: str, limit: int = 1_000, only_to: Collection[str] = ()) -> None:
        """Store how many recipients one request of a client may have, and which."""
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
        given = {"Content-Type": "application/json", **(headers or {})}
        text = body if isinstance(body, str) or body is None else json.dumps(body)
        return self._call("POST", path, given, text, client, key_id, remaining)

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
        told = HttpAnswer(answer["statusCode"], headers, json.loads(answer["body"]))
        route = path.removeprefix("/iam").partition("?")[0]
        contract.assert_conforms(method, route, told.status, told.headers, told.body)
        return told

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
        """What the function gives the gateway; it decodes the query of a URL first.

        The client shows its own key, or the one of `key_id`; below /iam `client` is the caller's
        ARN.
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
        """What `client` signs with its secret, now."""
        text = body if isinstance(body, str) else json.dumps(body)
        signed = signed_headers(secret, text, webhook_id or f"msg_{uuid.uuid4()}")
        given = {"Content-Type": "application/json", **signed, **(headers or {})}
        return self._call("POST", f"/webhooks/{client}", given, text, client)

    def put_webhook_secret(self, client: str, **fields: str) -> str:
        """Give a client a webhook secret, or both of them by name; the current one."""
        fields = fields or {"current": new_signing_secret()}
        name, value = f"{os.environ['WEBHOOK_SECRET_PREFIX']}{client}", json.dumps(fields)
        store = self.client("secretsmanager")
        try:
            store.create_secret(Name=name, SecretString=value)
        except store.exceptions.ResourceExistsException:
            store.put_secret_value(SecretId=name, SecretString=value)
        return fields["current"]

    def work(self, remaining: float = 60.0) -> list[str]:
        """Let the worker have all visible messages once; the ids of those that come back."""
        return self._hand(self.queue_url, self.worker, remaining)

    def hand_worker(self, records: list[Json]) -> Json:
        """Let the worker have these records, as Lambda gives them."""
        answer: Json = self.worker.handler({"Records": records}, Context(60.0))
        return answer

    def _hand(self, url: str, function: ModuleType, remaining: float) -> list[str]:
        """Hand a function what is visible in its queue, as Lambda does."""
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
        """Let the sweeper look once; what it has recovered."""
        recovered: dict[str, int] = self.sweeper.handler({}, Context(55.0))
        return recovered

    def follow(self, remaining: float = 55.0) -> Json:
        """Let the delivery poller look once at what is due; what it has heard."""
        heard: Json = self.status.handler({}, Context(remaining))
        return heard

    def status_anew(self) -> None:
        """Forget what the delivery poller knows, as a new environment would."""
        _start_again(delivery_poller)

    def forget(self) -> None:
        """Let the functions that send forget what they have cached, as new environments would."""
        _start_again(*_SENDING)

    def delete_items(self) -> None:
        """Delete every item of the ledger, as an operator might while a handler runs."""
        with permissions.calls_of("operator"):
            for item in self.items():
                key = {name: item[name] for name in ("pk", "sk")}
                self.client("dynamodb").delete_item(TableName=self.table, Key=key)

    def forget_messages(self) -> None:
        """Let the ledger have no messages, at once: moto looks at all items in each query."""
        items = dynamodb_backends[DEFAULT_ACCOUNT_ID][REGION].get_table(self.table).items
        for key in [key for key in items if key.value.startswith("MSG#")]:
            del items[key]

    @contextmanager
    def ledger_refuses_writes(self) -> Iterator[None]:
        """Nothing can be stored for a while; it can be read."""
        refused = LedgerUnavailableError("refused by a test")
        with patch.object(DynamoDbLedger, "replace_if_unchanged", side_effect=refused):
            yield

    def stream(self) -> list[Json]:
        """The records of the ledger's stream, as Lambda gives them to a function."""
        return stream_records(self.client("dynamodbstreams"), self.table)

    def tell(self, records: list[Json] | None = None) -> None:
        """Let the event publisher have records of the stream, by default all there were."""
        self.events.handler({"Records": self.stream() if records is None else records}, Context())

    def call_back(self, remaining: float = 30.0) -> list[str]:
        """Let the callback sender have what it is to post; the ids of what comes back."""
        url = os.environ["CALLBACK_QUEUE_URL"]
        return self._hand(url, self.callback, remaining)

    def renew(self, event: Json | None = None) -> Json:
        """Let the token renewer look once, by default as its schedule does."""
        done: Json = self.token.handler(event or {}, Context(55.0))
        return done

    def change(self, **values: str | float) -> None:
        """Change attributes of the only item, as time or another process would."""
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
        """The relay, not the test, loses its queue for a while."""
        queue = sending.parts().queue
        with patch.object(queue, "_url", f"{self.queue_url}-away"):
            yield

    @contextmanager
    def default_client(self, name: str) -> Iterator[None]:
        """A deployment changes `DefaultClient` for a while."""
        with self.deployed(DEFAULT_CLIENT=name):
            yield

    @contextmanager
    def deployed(self, **variables: str) -> Iterator[None]:
        """A deployment changes variables for a while: environments start again."""
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
        """The dead letters: body, and message attributes as strings."""
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
        """Let every message of the queue be visible now, whatever it waits for."""
        name = (url or self.queue_url).rpartition("/")[2]
        queue = sqs_backends[DEFAULT_ACCOUNT_ID][REGION].queues[name]
        for message in queue._messages:  # noqa: SLF001 - moto has no way to let time pass
            message.delayed_until = 0
            message.change_visibility(0)

    def end_pauses(self) -> None:
        """Let this environment call the upstream again, as a new one would."""
        sender = sending.parts().sender
        vars(sender)["_upstream_pause"] = UpstreamPause(time.time, random.random)

    def sleep(self, seconds: float) -> None:
        """Note a worker's sleep; the throttling pause is over after it."""
        self.slept.append(seconds)
        vars(vars(sending.parts().sender)["_upstream_pause"])["_throttled_until"] = 0.0

    def make_due(self) -> None:
        """Let all pauses and the wait of every send be over, and its message visible."""
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
        """Let every queued send be older than MaxAgeHours, and its message visible."""
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
        """What another process writes when it begins to send; it ends `lease` seconds later."""
        [item] = self.items()
        self.change(
            status="sending",
            attempts=1,
            dueAt=float(item["updatedAt"]["N"]) + lease,
            owner="another-process",
        )

    def waiting(self) -> int:
        """Messages in the queue, whether visible, delayed or being worked on."""
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
        """All items of the ledger that are about messages, as DynamoDB's."""
        items: list[Json] = self.client("dynamodb").scan(TableName=self.table)["Items"]
        others = ("CLIENT#", "BUDGET", "PAUSES", "TOKEN")
        kept = [item for item in items if not item["pk"]["S"].startswith(others)]
        return sorted(kept, key=lambda item: (item["pk"]["S"], item["sk"]["S"]))

    def put_credentials(self, **fields: object) -> None:
        """Put the client credentials in; without any, what is no JSON."""
        self.client("secretsmanager").put_secret_value(
            SecretId=os.environ["CREDENTIALS_SECRET_ARN"],
            SecretString=json.dumps(fields) if fields else "{",
        )

    def put_catalogue(self, document: object) -> None:
        """Put a catalogue into the parameter, or a text that may be none."""
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
    """A client of the test's own."""
    factory: Any = boto3.client  # its types want the service's name as a literal
    return factory(service, region_name=REGION)


def _all_items(table: Any) -> list[Any]:
    """All items of a table by their keys, which are strings: moto's own comparison is slow."""
    items = [item for group in table.items.values() for item in group.values()]
    return sorted(items, key=lambda item: (item.hash_key.value, item.range_key.value))


@contextmanager
def simulated_aws() -> Iterator[None]:
    """An account of moto's, for as many relays as a session has."""
    credentials = {
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": REGION,
    }
    # As in DynamoDB itself, a conditional write is one step: without the lock moto's is several,
    # and two threads both win a claim.
    process, lock = BotocoreStubber.process_request, threading.RLock()
    # Each session of botocore parses megabytes of JSON about the services, and registers hundreds
    # of handlers: here all relays share one.
    one_loader, one_session = cache(loaders.create_loader), cache(botocore.session.Session)
    # moto and botocore compute these names again for each call, in a third of its time.
    aliaser: Any = EventAliaser(HierarchicalEmitter())
    alias = cache(aliaser._alias_event_name)  # noqa: SLF001 - there is no public name
    keys_of, known = XFormedAttributePicker.get_possible_keys, dict[Any, list[str]]()

    def possible_keys(picker: Any, context: AttributePickerContext) -> list[str]:
        place = type(context.obj), context.shape, context.key
        if place not in known:
            known[place] = list(keys_of(picker, context))
        return known[place]

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
    """A relay as the template sets it up; `overrides` are environment variables."""
    name = f"relay-{uuid.uuid4()}"
    sqs, store = client_of("sqs"), client_of("secretsmanager")
    queue_url = sqs.create_queue(
        QueueName=name,
        Attributes={"VisibilityTimeout": str(properties("Queue")["VisibilityTimeout"])},
    )["QueueUrl"]
    dead_letter_queue_url = sqs.create_queue(QueueName=f"{name}-dead-letters")["QueueUrl"]
    wanted = ("BillingMode", "AttributeDefinitions", "KeySchema", "GlobalSecondaryIndexes")
    ledger = properties("Ledger")
    # As in the template; moto takes its time for it.
    is_told = "EVENT_BUS" in overrides
    stream = {"StreamEnabled": is_told} | ({"StreamViewType": VIEW} if is_told else {})
    client_of("dynamodb").create_table(
        TableName=name, StreamSpecification=stream, **{key: ledger[key] for key in wanted}
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
        relay.key_of(CLIENT)  # now: a test may take the table away
        with patch.object(queue_worker, "_sleep", relay.sleep):
            yield relay


_SENDING = (sending, api, webhook, queue_worker, sweeper)
"""They share the parts of the first one."""
_OTHERS = (token_renewer, delivery_poller, callback_sender, event_publisher)


def _start_again(*wirings: ModuleType) -> None:
    """Let functions build their parts again, as new environments would."""
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
    """A function's module, loaded again; its name is unique, because each file is `app.py`."""
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
