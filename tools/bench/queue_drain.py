"""Drains a full queue with the deployed worker on the local stack, and compares it with the ideal.

The ideal rate is concurrent sends ÷ latency. MobileConnect is the stub, with a fixed latency.
"""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from tools.bench.aws_stub import UPSTREAM
from tools.bench.runner import Bench
from tools.bench.timings import LATENCY_MS
from tools.local_stack import ROOT
from tools.local_stack.polling import wait_for
from tools.local_stack.stack import LocalStack, Stack

CONCURRENT_SENDS: Final = 20
SQS_BATCH: Final = 10
BODY: Final = {"message": "MzA6Nzg6MA", "to": ["+12125550100"], "text": "Your order is on its way."}


def drain(bench: Bench, messages: int) -> dict[str, float]:
    """Fill the queue while the worker is disabled, then enable it and time its calls."""
    parameters = {
        "TokenRenewal": "off",
        "DeliveryPolling": "none",
        "MaxConcurrentSends": str(CONCURRENT_SENDS),
    }
    with LocalStack(ROOT / ".local/bench/stack", parameters=parameters) as stack:
        secret = {"access_token": "bench", "rest_instance_url": bench.stub.url}
        stack.clients.secretsmanager.put_secret_value(
            SecretId=stack.token_secret, SecretString=json.dumps(secret)
        )
        _set_worker(stack, enabled=False)
        _fill(stack, messages)
        bench.stub.control(delay_ms=LATENCY_MS, reset=True)
        try:
            _set_worker(stack, enabled=True)
            wait_for(lambda: _sent(bench) >= SQS_BATCH, what="the first batch", seconds=60)
            first, began = _sent(bench), time.monotonic()
            wait_for(lambda: _sent(bench) >= messages, what="the last message", seconds=3_600)
            seconds = time.monotonic() - began
        finally:
            bench.stub.control(delay_ms=0)
    rate, ideal = (messages - first) / seconds, CONCURRENT_SENDS / LATENCY_MS * 1e3
    return {
        "messages": messages,
        "per_second": round(rate, 1),
        "ideal_per_second": round(ideal, 1),
        "vs_ideal": round(rate / ideal, 3),
    }


def _sent(bench: Bench) -> int:
    return bench.stub.calls()[UPSTREAM]


def _set_worker(stack: Stack, *, enabled: bool) -> None:
    mappings = stack.clients.lambda_.list_event_source_mappings()["EventSourceMappings"]
    [uuid] = [
        mapping["UUID"]
        for mapping in mappings
        if mapping["EventSourceArn"].endswith(stack.queue_url.rpartition("/")[2])
    ]
    stack.clients.lambda_.update_event_source_mapping(UUID=uuid, Enabled=enabled)


def _fill(stack: Stack, messages: int) -> None:
    def post(start: int) -> None:
        response = stack.clients.sqs.send_message_batch(
            QueueUrl=stack.queue_url,
            Entries=[
                {"Id": str(number), "MessageBody": json.dumps(BODY)}
                for number in range(min(SQS_BATCH, messages - start))
            ],
        )
        if response.get("Failed"):
            raise RuntimeError(f"not queued: {response['Failed']}")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(post, range(0, messages, SQS_BATCH)))
