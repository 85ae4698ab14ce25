"""A full queue, drained by the deployed worker on the local stack, against the ideal.

The ideal is `sends at once ÷ latency`: no instant in which a call could be under way and is not.
The upstream is the stub, which answers every call after the same time.
"""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from tools.bench.batches import LATENCY_MS
from tools.bench.runner import Bench
from tools.local_stack import ROOT
from tools.local_stack.polling import wait_for
from tools.local_stack.stack import LocalStack, Stack

MANY: Final = 20
FEW: Final = 4
"""Sends at once: by two workers, the least there can be."""
AT_A_TIME: Final = 10
"""Messages that SQS takes in one call."""
BODY: Final = {"message": "MzA6Nzg6MA", "to": ["+12125550100"], "text": "Your order is on its way."}


def drain(bench: Bench, messages: int, sends_at_once: int = MANY) -> dict[str, Any]:
    """Fill the queue while nobody reads it, let the worker loose, and time its calls."""
    parameters = {
        "TokenRenewal": "off",
        "DeliveryCallsPerMinute": "0",
        "MaxConcurrentSends": str(sends_at_once),
    }
    with LocalStack(ROOT / ".local/bench/stack", parameters=parameters) as stack:
        secret = {"access_token": "bench", "rest_instance_url": bench.stub.url}
        stack.clients.secretsmanager.put_secret_value(
            SecretId=stack.token_secret, SecretString=json.dumps(secret)
        )
        _let_the_worker_read(stack, enabled=False)
        _fill(stack, messages)
        bench.stub.control(delay_ms=LATENCY_MS, reset=True)
        try:
            _let_the_worker_read(stack, enabled=True)
            wait_for(lambda: _sent(bench) >= AT_A_TIME, what="the first batch", seconds=60)
            first, began = _sent(bench), time.monotonic()
            wait_for(lambda: _sent(bench) >= messages, what="the last message", seconds=3_600)
            took = time.monotonic() - began
        finally:
            bench.stub.control(delay_ms=0)
    rate, ideal = (messages - first) / took, sends_at_once / LATENCY_MS * 1e3
    return {
        "messages": messages,
        "sends_at_once": sends_at_once,
        "latency_ms": LATENCY_MS,
        "per_second": round(rate, 1),
        "ideal_per_second": round(ideal, 1),
        "vs_ideal": round(rate / ideal, 3),
        "sent": _sent(bench),
    }


def _sent(bench: Bench) -> int:
    return bench.stub.calls().get("upstream", 0)


def _let_the_worker_read(stack: Stack, *, enabled: bool) -> None:
    lambda_ = stack.clients.lambda_
    mappings = lambda_.list_event_source_mappings()["EventSourceMappings"]
    [uuid] = [
        mapping["UUID"]
        for mapping in mappings
        if mapping["EventSourceArn"].endswith(stack.queue_url.rpartition("/")[2])
    ]
    lambda_.update_event_source_mapping(UUID=uuid, Enabled=enabled)


def _fill(stack: Stack, messages: int) -> None:
    def post(start: int) -> None:
        answer = stack.clients.sqs.send_message_batch(
            QueueUrl=stack.queue_url,
            Entries=[
                {"Id": str(number), "MessageBody": json.dumps(BODY)}
                for number in range(min(AT_A_TIME, messages - start))
            ],
        )
        if answer.get("Failed"):
            raise RuntimeError(f"not queued: {answer['Failed']}")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(post, range(0, messages, AT_A_TIME)))
