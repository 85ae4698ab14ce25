"""Removes each permission of each role in turn, then changes the value of each condition.

Each time, a scenario must fail. It fails if one of its calls is denied, even if the relay can
continue without that call.
"""

import json
import shutil
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Self

import httpx
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from standardwebhooks import Webhook

from tools.local_stack import servers
from tools.local_stack.polling import wait_for
from tools.local_stack.roles import Permission, Roles, restart_functions
from tools.local_stack.signing_secrets import new_signing_secret
from tools.local_stack.simulator_client import SimulatorControl
from tools.local_stack.stack import STATE, LocalStack, Stack

NOT_JUDGED: Final = {
    "logs:CreateLogStream": "Lambda writes the logs",
    "logs:PutLogEvents": "Lambda writes the logs",
    "xray:PutTraceSegments": "Lambda writes the traces",
    "xray:PutTelemetryRecords": "Lambda writes the traces",
    "sqs:ReceiveMessage": "Lambda receives from the queue",
    "sqs:DeleteMessage": "Lambda receives from the queue",
    "sqs:GetQueueAttributes": "Lambda receives from the queue",
    "dynamodb:DescribeStream": "Lambda reads the stream",
    "dynamodb:GetRecords": "Lambda reads the stream",
    "dynamodb:GetShardIterator": "Lambda reads the stream",
    "dynamodb:ListStreams": "Lambda reads the stream",
}
"""Calls that Lambda makes with a function's role, but MiniStack without any role."""
ON_FAILURE: Final = ("EventPublisherRole", "DeadLetterQueue")
"""Lambda sends records there that the function could not process."""
PARAMETERS: Final = {"RecipientResults": "on"}
"""With these and the local stack's parameters, roles have all permissions except those for KMS."""
SCENARIO_SECONDS: Final = 60
CLIENT: Final = "web-shop"
CALLBACK: Final = "https://shop.invalid/sms"
"""No host can have this name, so a callback fails."""
MESSAGE: Final = {"message": "MzA6Nzg6MA", "to": ["+1 212 555 0100"], "text": "Hello"}
NAMED: Final = MESSAGE | {"message": "welcome", "reference": "order-8812"}
TWO_SENDS: Final = MESSAGE | {"to": ["+1 212 555 0100", {"mobile": "+12125550101", "key": "k"}]}
REFUSED: Final = MESSAGE | {"text": " "}
ASYNC: Final = {"prefer": "respond-async"}

Json = dict[str, Any]
Change = Callable[[Permission], AbstractContextManager[None]]


class ScenarioError(Exception):
    """A scenario did not reach its expected result."""


class Player:
    """Runs scenarios on a stack with the parameters above."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.upstream = SimulatorControl(stack.simulator_url)
        self.roles = Roles(stack)
        self._api = httpx.Client(base_url=stack.api_url, trust_env=False, timeout=60)
        self._denials = 0
        self._secret, self._user = "", Credentials("", "")

    def __enter__(self) -> Self:
        self._prepare()
        return self

    def __exit__(self, *details: object) -> None:
        self._api.close()
        self.upstream.__exit__(*details)

    def failing(self, permission: Permission, change: Change) -> str | None:
        """Return the name of the first scenario that fails while a permission is changed, or None.

        Raises:
            ScenarioError, TimeoutError: a scenario failed, but no call was denied.
        """
        for scenario in SCENARIOS[permission.role]:
            self._begin()
            before = self.roles.denials(permission)
            with change(permission):
                try:
                    scenario(self)
                except (ScenarioError, TimeoutError):
                    if self.roles.denials(permission) == before:
                        raise
            if self.roles.denials(permission) > before:
                return scenario.__name__
        return None

    def play(self, scenario: "Scenario") -> None:
        """Run a scenario with all permissions."""
        self._begin()
        restart_functions(self.stack)
        scenario(self)
        if self._is_denied():
            raise ScenarioError("a call was denied")

    def until(self, condition: Callable[[], object], what: str) -> None:
        """Wait until a condition is true, or a call is denied."""
        wait_for(
            lambda: condition() or self._is_denied(), what=what, seconds=SCENARIO_SECONDS, every=0.1
        )

    def until_sent(self, text: str, count: int) -> None:
        """Wait until the upstream has accepted so many sends with a text."""

        def accepted() -> bool:
            texts = [sent["body"].get("messageText") for sent in self.upstream.sent()]
            return texts.count(text) >= count

        self.until(accepted, f"{count} sends")

    def by_key(self, method: str, path: str, body: Json | None = None, **headers: str) -> Json:
        """Call the API as the default client."""
        return self._call(method, path, body, {"x-api-key": self.stack.api_key, **headers})

    def by_signature(self, method: str, path: str, body: Json | None = None) -> Json:
        """Call the API as an IAM user."""
        content = "" if body is None else json.dumps(body)
        headers = {"content-type": "application/json"}
        request = AWSRequest(method, f"{self.stack.api_url}{path}", headers, content.encode())
        SigV4Auth(self._user, "execute-api", self.stack.region).add_auth(request)
        return self._call(method, path, body, dict(request.headers))

    def by_webhook(self, body: Json, webhook_id: str = "", **headers: str) -> Json:
        """Post as a signed webhook."""
        webhook_id, now = webhook_id or f"msg_{uuid.uuid4()}", datetime.now(UTC)
        signed = {
            "webhook-id": webhook_id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": Webhook(self._secret).sign(webhook_id, now, json.dumps(body)),
        }
        return self._call("POST", f"/webhooks/{CLIENT}", body, signed | headers)

    def by_queue(self, body: Json) -> None:
        """Post to the queue."""
        self.stack.clients.sqs.send_message(
            QueueUrl=self.stack.queue_url, MessageBody=json.dumps(body)
        )

    def invoke(self, function: str) -> Json:
        """Invoke a function as its schedule does, and return its result."""
        answer = self.stack.clients.lambda_.invoke(
            FunctionName=self.stack.functions[function], Payload="{}"
        )
        content: Json = json.load(answer["Payload"])
        if "FunctionError" in answer:
            raise ScenarioError(f"{function}: {content}")
        return content

    def empty_token(self) -> None:
        """Store a token secret without an access token."""
        self.stack.clients.secretsmanager.put_secret_value(
            SecretId=self.stack.token_secret, SecretString="{}"
        )

    def make_due(self, message_id: str) -> None:
        """Set the due time of a message's first send to the past."""
        self.stack.clients.dynamodb.update_item(
            TableName=self.stack.table,
            Key={"pk": {"S": f"MSG#{message_id}"}, "sk": {"S": "SEND#001"}},
            UpdateExpression="SET dueAt = :past",
            ExpressionAttributeValues={":past": {"N": "1"}},
        )

    def dead_letters(self) -> int:
        answer = self.stack.clients.sqs.get_queue_attributes(
            QueueUrl=self.stack.dead_letter_queue_url,
            AttributeNames=["ApproximateNumberOfMessages"],
        )
        return int(answer["Attributes"]["ApproximateNumberOfMessages"])

    def is_called_back(self, message_id: str) -> bool:
        """Return whether the callback for a message has been attempted, which fails."""
        lines = servers.emulator_log(self.stack.state).read_text().splitlines()
        return any("callback failed" in line and f"evt_{message_id}_" in line for line in lines)

    def _call(self, method: str, path: str, body: Json | None, headers: Mapping[str, str]) -> Json:
        content = None if body is None else json.dumps(body)
        answer = self._api.request(
            method, path, content=content, headers={"content-type": "application/json", **headers}
        )
        if answer.status_code not in {200, 202}:
            raise ScenarioError(f"{method} {path}: {answer.status_code} {answer.text}")
        found: Json = answer.json()
        return found

    def _is_denied(self) -> bool:
        return self.roles.denials() > self._denials

    def _begin(self) -> None:
        """Remove the data of the previous scenario, and fetch a valid access token."""
        self.upstream.reset()
        for url in (self.stack.queue_url, self.stack.dead_letter_queue_url):
            self.stack.clients.sqs.purge_queue(QueueUrl=url)
        self.empty_token()
        if self.invoke("TokenRenewerFunction").get("did") not in {"renewed", "kept"}:
            raise ScenarioError("there is no access token")
        self._denials = self.roles.denials()

    def _prepare(self) -> None:
        """Create what operators create: a catalogue, a secret and a registered IAM user."""
        clients = self.stack.clients
        catalogue = {
            "messages": {"welcome": MESSAGE["message"]},
            "clients": {self.stack.default_client: {"callback": CALLBACK}},
        }
        clients.ssm.put_parameter(
            Name=self.stack.catalogue_parameter,
            Value=json.dumps(catalogue),
            Type="String",
            Overwrite=True,
        )
        self._secret = new_signing_secret()
        clients.secretsmanager.create_secret(
            Name=f"{self.stack.webhook_secret_prefix}{CLIENT}",
            SecretString=json.dumps({"current": self._secret}),
        )
        arn = clients.iam.create_user(UserName=CLIENT)["User"]["Arn"]
        allowed = {"Effect": "Allow", "Action": "execute-api:Invoke", "Resource": "*"}
        clients.iam.put_user_policy(
            UserName=CLIENT,
            PolicyName="post",
            PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [allowed]}),
        )
        key = clients.iam.create_access_key(UserName=CLIENT)["AccessKey"]
        self._user = Credentials(key["AccessKeyId"], key["SecretAccessKey"])
        item = {"pk": {"S": f"CLIENT#{arn}"}, "sk": {"S": "NAME"}, "client": {"S": CLIENT}}
        clients.dynamodb.put_item(TableName=self.stack.table, Item=item)


Scenario = Callable[[Player], None]


def api(player: Player) -> None:
    """Post with an API key, and query the results."""
    posted = player.by_key("POST", "/messages", NAMED)
    if posted["status"] != "accepted":
        raise ScenarioError(f"the message is {posted['status']}")
    player.by_key("GET", f"/messages/{posted['id']}")
    player.by_key("GET", f"/tokens/{posted['sends'][0]['tokenId']}")
    player.by_key("GET", f"/messages?reference={NAMED['reference']}")
    player.by_key("POST", "/messages", MESSAGE, **ASYNC)
    player.upstream.expire_tokens()
    player.by_key("POST", "/messages", MESSAGE)


def iam(player: Player) -> None:
    """Post with an IAM signature, which also counts against the client's limit."""
    player.by_signature("POST", "/iam/messages", MESSAGE)


def webhook(player: Player) -> None:
    """Post webhooks, one of them twice."""
    for _ in range(2):
        player.by_webhook(TWO_SENDS | {"message": "welcome"}, "msg_twice")
    player.by_webhook(MESSAGE)
    player.by_webhook(MESSAGE, **ASYNC)
    player.upstream.expire_tokens()
    player.by_webhook(MESSAGE)


def queue(player: Player) -> None:
    """Post to the queue: a name, two sends, a refused message, and with an expired access token."""
    text = str(uuid.uuid4())  # messages of the previous scenario may arrive again
    for body in (REFUSED, NAMED | {"text": text}, TWO_SENDS | {"text": text}):
        player.by_queue(body)
    player.until_sent(text, 3)
    player.until(player.dead_letters, "the dead letter")
    player.upstream.expire_tokens()
    player.by_queue(MESSAGE | {"text": text})
    player.until_sent(text, 4)


def sweep(player: Player) -> None:
    """Recover a send whose SQS message was lost."""
    player.upstream.fail([{"route": "send", "then": "429-50100", "retryAfter": 900}])
    posted = player.by_key("POST", "/messages", MESSAGE)
    player.stack.clients.sqs.purge_queue(QueueUrl=player.stack.queue_url)
    player.make_due(posted["id"])
    player.invoke("SweeperFunction")


def poll(player: Player) -> None:
    """Poll a send until it is delivered, and poll another one with an expired access token."""
    first, second = (player.by_key("POST", "/messages", MESSAGE)["id"] for _ in range(2))
    player.make_due(first)
    player.invoke("DeliveryPollerFunction")
    if player.by_key("GET", f"/messages/{first}")["status"] != "delivered":
        raise ScenarioError("the message is not delivered")
    player.upstream.expire_tokens()
    player.make_due(second)
    player.invoke("DeliveryPollerFunction")


def publish(player: Player) -> None:
    """Publish an event and a callback for a send that the upstream rejected."""
    player.upstream.fail([{"route": "send", "then": "400"}])
    posted = player.by_key("POST", "/messages", MESSAGE, **ASYNC)
    player.until(lambda: player.is_called_back(posted["id"]), "the callback")


def renew(player: Player) -> None:
    """Fetch an access token."""
    player.empty_token()
    player.invoke("TokenRenewerFunction")


SCENARIOS: Final[Mapping[str, tuple[Scenario, ...]]] = {
    "ApiRole": (api, iam),
    "WebhookRole": (webhook,),
    "QueueWorkerRole": (queue,),
    "SweeperRole": (sweep,),
    "DeliveryPollerRole": (poll,),
    "EventPublisherRole": (publish,),
    "CallbackSenderRole": (publish,),
    "TokenRenewerRole": (renew,),
}


def not_judged(permission: Permission) -> str | None:
    """Return why no scenario can test a permission, or None if one must."""
    role, queue_name = ON_FAILURE
    if permission.role == role and queue_name in permission.resource:
        return "Lambda sends records that the function could not process"
    return NOT_JUDGED.get(permission.action)


def run() -> int:
    """Remove each permission in turn, print the scenario that fails, and return the exit code.

    Raises:
        StartError: the stack did not start.
        ScenarioError, TimeoutError: a scenario failed for another reason.
    """
    (STATE / "iam").mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=STATE / "iam"))
    began = time.monotonic()
    with LocalStack(folder, parameters=PARAMETERS, say=print) as stack, Player(stack) as player:
        for scenario in dict.fromkeys(it for each in SCENARIOS.values() for it in each):
            player.play(scenario)
            print(f"with all permissions: {scenario.__name__} passes")
        permissions = player.roles.permissions()
        judged = [it for it in permissions if not not_judged(it)]
        needed = 0
        for number, permission in enumerate(judged, start=1):
            failing = player.failing(permission, player.roles.without)
            needed += failing is not None
            print(f"{number:>2} of {len(judged)}  {permission}: {failing or 'NOT NEEDED'}")
        without_effect = 0
        for permission in player.roles.conditional():
            failing = player.failing(permission, player.roles.with_other_condition)
            without_effect += failing is None
            print(f"condition  {permission}: {failing or 'WITHOUT EFFECT'}")
    print()
    left_out = Counter((it.action, why) for it in permissions if (why := not_judged(it)))
    for (action, why), count in left_out.items():
        print(f"not tested: {action} ({count}): {why}")
    is_passed = needed == len(judged) and not without_effect
    if is_passed:
        shutil.rmtree(folder)
    else:
        print(f"The logs are in {folder}")
    print(f"iam: {needed} of {len(judged)} actions are needed ({time.monotonic() - began:.0f} s)")
    return 0 if is_passed else 1
