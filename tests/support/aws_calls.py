"""AWS in tests: intercepts calls, converts SQS's and DynamoDB's records, fakes API Gateway."""

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from botocore.client import BaseClient
from botocore.exceptions import ClientError

Interceptor = Callable[[BaseClient, str, Any, Callable[[], Any]], Any]
"""Gets a call's client, operation and parameters, and a function that makes the call."""


@contextmanager
def intercepted(interceptor: Interceptor) -> Iterator[None]:
    """Pass each call of every boto client to `interceptor` instead of AWS."""
    call: Any = BaseClient._make_api_call  # type: ignore[attr-defined]  # noqa: SLF001 - there is no other way in

    def instead(client: BaseClient, operation: str, parameters: Any) -> Any:
        return interceptor(
            client, operation, parameters, partial(call, client, operation, parameters)
        )

    with patch.object(BaseClient, "_make_api_call", instead):
        yield


def record(message: Any) -> dict[str, Any]:
    """Convert a message of SQS into the record that Lambda passes to a function."""
    return {
        "messageId": message["MessageId"],
        "receiptHandle": message["ReceiptHandle"],
        "body": message["Body"],
        "attributes": message.get("Attributes", {}),
        "messageAttributes": {
            name: {"stringValue": value["StringValue"], "dataType": value["DataType"]}
            for name, value in message.get("MessageAttributes", {}).items()
        },
        "eventSource": "aws:sqs",
    }


Json = dict[str, Any]


def stream_records(streams: Any, table: str) -> list[Json]:
    """Return the records of a table's stream as Lambda passes them to a function."""
    [stream] = streams.list_streams(TableName=table)["Streams"]
    arn = stream["StreamArn"]
    [shard] = streams.describe_stream(StreamArn=arn)["StreamDescription"]["Shards"]
    place = streams.get_shard_iterator(
        StreamArn=arn, ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON"
    )["ShardIterator"]
    records: list[Json] = streams.get_records(ShardIterator=place)["Records"]
    return records


class Gateway:
    """Fakes the API Gateway calls of `smsrelay client`.

    moto's API Gateway needs a package that is missing here; the e2e tests use a real emulator.
    """

    def __init__(self) -> None:
        self.api_keys: dict[str, Json] = {}
        self.plans: dict[str, Json] = {"p0": {"id": "p0", "name": "another API's"}}
        self.plan_keys: dict[str, list[str]] = {}
        self.usage: dict[str, list[list[int]]] = {}
        """By key id, the used and remaining requests of each day up to today, oldest first."""
        self.asked_for: list[str] = []
        """The ids in the URLs of calls, which CloudTrail logs."""
        self.fails_at: str | None = None
        """The operation that fails once."""

    def create_api_key(self, name: str, *, enabled: bool) -> Json:
        key_id = f"key{len(self.api_keys)}"
        value = str(uuid.uuid4())
        self.api_keys[key_id] = {"id": key_id, "name": name, "enabled": enabled, "value": value}
        return self.api_keys[key_id]

    def create_usage_plan(self, **plan: Any) -> Json:
        plan_id = f"p{len(self.plans)}"
        self.plans[plan_id] = plan | {"id": plan_id}
        self.plan_keys[plan_id] = []
        return self.plans[plan_id]

    def create_usage_plan_key(self, *, usagePlanId: str, keyId: str, keyType: str) -> None:  # noqa: N803 - AWS's names
        assert keyType == "API_KEY"
        self.plan_keys[usagePlanId].append(keyId)

    def delete_usage_plan_key(self, *, usagePlanId: str, keyId: str) -> None:  # noqa: N803 - same
        self._fail("delete_usage_plan_key")
        self.plan_keys[usagePlanId].remove(keyId)

    def delete_api_key(self, *, apiKey: str) -> None:  # noqa: N803 - same
        self._fail("delete_api_key")
        del self.api_keys[apiKey]

    def update_usage_plan(self, *, usagePlanId: str, patchOperations: list[Json]) -> Json:  # noqa: N803 - same
        self._fail("update_usage_plan")
        plan = self.plans[usagePlanId]
        for patch_operation in patchOperations:
            path, value = patch_operation["path"], patch_operation["value"]
            if patch_operation["op"] == "remove":
                assert path == "/apiStages"
                api_id, stage = value.split(":")
                plan["apiStages"].remove({"apiId": api_id, "stage": stage})
                continue
            _, part, name = path.split("/")
            assert name in plan[part]
            plan[part][name] = int(value)
        return plan

    def delete_usage_plan(self, *, usagePlanId: str) -> None:  # noqa: N803 - same
        self._fail("delete_usage_plan")
        assert not self.plans[usagePlanId]["apiStages"], "AWS refuses to delete it"
        del self.plans[usagePlanId], self.plan_keys[usagePlanId]

    def _fail(self, operation: str) -> None:
        if self.fails_at == operation:
            self.fails_at = None
            raise ClientError({"Error": {"Code": "TooManyRequestsException"}}, operation)

    def get_api_key(self, *, apiKey: str) -> Json:  # noqa: N803 - same
        self.asked_for.append(apiKey)
        if apiKey not in self.api_keys:
            raise ClientError({"Error": {"Code": "NotFoundException"}}, "GetApiKey")
        return {name: it for name, it in self.api_keys[apiKey].items() if name != "value"}

    def get_paginator(self, operation: str) -> Any:
        def keys(usagePlanId: str) -> list[Json]:  # noqa: N803 - same
            return [{"items": [{"id": key}]} for key in self.plan_keys[usagePlanId]]

        def plans() -> list[Json]:
            return [{"items": [plan]} for plan in self.plans.values()]

        def usage(usagePlanId: str, startDate: str, endDate: str) -> list[Json]:  # noqa: N803 - same
            assert startDate < endDate
            keys = [key for key in self.plan_keys[usagePlanId] if key in self.usage]
            return [{"items": {key: self.usage[key]}} for key in keys] or [{}]

        paginate = {
            "get_usage_plans": plans,
            "get_usage_plan_keys": keys,
            "get_usage": usage,
        }[operation]
        return SimpleNamespace(paginate=paginate)
