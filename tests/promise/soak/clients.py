"""Posts requests, and retries them as the documentation asks callers to."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from http import HTTPStatus
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

import httpx
from botocore.exceptions import BotoCoreError

from tests.promise.history import Answer
from tests.promise.soak.requests import Request
from tools.local_stack.samples import Way
from tools.local_stack.stack import Stack

if TYPE_CHECKING:
    from mypy_boto3_sqs.type_defs import SendMessageBatchRequestEntryTypeDef

ANSWER_SECONDS: Final = 30
"""Longer than the gateway's limit of 29 s."""
CALLS_AT_ONCE: Final = 8
"""For each parallel call, MiniStack starts one more process of the function."""
BATCH: Final = 10
FIRST_WAIT, LONGEST_WAIT = 0.5, 5.0
FINAL_CODES: Final = {"delivery-unknown", "not-sent"}
"""Codes that would stay the same in another try, although their status suggests one."""
NO_ANSWER: Final = "no answer"


class Poster:
    """Posts requests; repeats those over HTTP with their key until a final response comes."""

    def __init__(self, stack: Stack) -> None:
        self.answers: Counter[str] = Counter()
        """The number of responses over HTTP, by status and code."""
        self.ends: dict[str, str] = {}
        """The last response to each request over HTTP, by reference."""
        self.history: list[Answer] = []
        """The responses that come from the relay, not from the gateway."""
        self.enqueued: dict[str, str] = {}
        """References by SQS message id."""
        self.posted: set[str] = set()
        """References of the requests that were posted over HTTP."""
        self.repetitions = 0
        self._stack = stack
        self._http = httpx.AsyncClient(
            base_url=stack.api_url,
            headers={"x-api-key": stack.api_key, "Content-Type": "application/json"},
            trust_env=False,
            timeout=ANSWER_SECONDS,
        )
        self._free = asyncio.Semaphore(CALLS_AT_ONCE)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        await self._http.aclose()

    @property
    def taken(self) -> set[str]:
        """References of the requests that got a 2xx response, or that the queue accepted."""
        answered = {it.reference for it in self.history if it.status // 100 == 2}
        return answered | set(self.enqueued.values())

    async def call(self, request: Request) -> None:
        """Post a request over HTTP until it gets a final response."""
        wait = FIRST_WAIT
        while True:
            status, code, retry_after = await self._call_once(request)
            self.answers[f"{status} {code}".rstrip()] += 1
            self.ends[request.message.reference] = f"{status} {code}".rstrip()
            if not _is_worth_another_try(status, code):
                return
            self.repetitions += 1
            await asyncio.sleep(wait if retry_after is None else min(retry_after, LONGEST_WAIT))
            wait = min(LONGEST_WAIT, wait * 2)

    async def enqueue(self, requests: Sequence[Request]) -> None:
        """Send a batch of requests to the queue."""
        waiting = list(requests)
        while waiting:
            entries = [self._entry(str(n), request) for n, request in enumerate(waiting)]
            try:
                answer = await asyncio.to_thread(
                    self._stack.clients.sqs.send_message_batch,
                    QueueUrl=self._stack.queue_url,
                    Entries=entries,
                )
            except BotoCoreError:  # without a response it is sent again, with the same keys
                self.repetitions += len(waiting)
                await asyncio.sleep(FIRST_WAIT)
                continue
            sent = {int(entry["Id"]): entry["MessageId"] for entry in answer.get("Successful", [])}
            self.enqueued |= {sent[n]: waiting[n].message.reference for n in sent}
            waiting = [request for n, request in enumerate(waiting) if n not in sent]

    async def repeat(self, request: Request) -> None:
        """Post a request again, by the other way."""
        self.repetitions += 1
        if request.way is Way.API:
            await self.enqueue([request])
        else:
            await self.call(request)

    async def _call_once(self, request: Request) -> tuple[str, str, float | None]:
        """Post once; return the status, the problem's code and the Retry-After in seconds."""
        message = request.message
        headers = {"Idempotency-Key": message.key or ""}
        if request.deferred:
            headers["Prefer"] = "respond-async"
        self.posted.add(message.reference)
        async with self._free:
            try:
                answer = await self._http.post("/messages", content=message.body, headers=headers)
            except httpx.HTTPError as error:
                return NO_ANSWER, type(error).__name__, None
        body = _object(answer)
        if "code" in body or "id" in body:  # otherwise it comes from the gateway
            self.history.append(Answer(message.reference, answer.status_code, body))
        retry_after = answer.headers.get("retry-after")
        seconds = None if retry_after is None else float(retry_after)
        return str(answer.status_code), str(body.get("code", "")), seconds

    def _entry(self, name: str, request: Request) -> "SendMessageBatchRequestEntryTypeDef":
        message = request.message
        attributes = {"client": message.client or "", "Idempotency-Key": message.key or ""}
        return {
            "Id": name,
            "MessageBody": message.body,
            "MessageAttributes": {
                attribute: {"DataType": "String", "StringValue": value}
                for attribute, value in attributes.items()
            },
        }


def _is_worth_another_try(status: str, code: str) -> bool:
    if status == NO_ANSWER:
        return True
    if code in FINAL_CODES:
        return False
    return status.startswith("5") or int(status) in {
        HTTPStatus.CONFLICT,
        HTTPStatus.TOO_MANY_REQUESTS,
    }


def _object(answer: httpx.Response) -> dict[str, Any]:
    """Return the JSON object of a response, or an empty one."""
    try:
        body: Any = answer.json()
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}
