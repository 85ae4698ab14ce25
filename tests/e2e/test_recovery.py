"""Tests the deployed sweeper: it finds stalled sends in the index, and the worker sends them."""

from typing import Any

import httpx

from tools.local_stack.polling import wait_for
from tools.local_stack.simulator_client import SimulatorControl
from tools.local_stack.stack import Stack

MESSAGE: dict[str, Any] = {"message": "MzA6Nzg6MA", "to": ["+12125550100"], "text": "Hello"}


def test_a_send_without_a_message_is_found_and_finished(
    stack: Stack, api: httpx.Client, upstream: SimulatorControl
) -> None:
    upstream.fail([{"route": "send", "then": "429-50100", "retryAfter": 900}])
    posted = api.post("/messages", json=MESSAGE).json()
    assert posted["status"] == "queued"
    # Lose its message, which is delayed by a quarter of an hour, and make the send overdue.
    stack.clients.sqs.purge_queue(QueueUrl=stack.queue_url)
    stack.clients.dynamodb.update_item(
        TableName=stack.table,
        Key={"pk": {"S": f"MSG#{posted['id']}"}, "sk": {"S": "SEND#001"}},
        UpdateExpression="SET dueAt = :past",
        ExpressionAttributeValues={":past": {"N": "1"}},
    )

    answer = stack.clients.lambda_.invoke(FunctionName=stack.functions["SweeperFunction"])
    assert "FunctionError" not in answer, answer["Payload"].read()

    [sent] = wait_for(upstream.sent, what="the recovered send", seconds=90)

    def accepted() -> dict[str, Any] | None:
        stored: dict[str, Any] = api.get(f"/messages/{posted['id']}").json()
        return stored if stored["status"] == "accepted" else None

    stored = wait_for(accepted, what="its tokenId", seconds=60)
    assert stored["sends"][0]["tokenId"] == sent["tokenId"]
