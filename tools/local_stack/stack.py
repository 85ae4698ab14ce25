"""The local stack: the MobileConnect simulator, and MiniStack with template.yaml deployed."""

import atexit
import json
import secrets
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from tools.local_stack import ROOT, build, deployment, processes, servers, status_receiver
from tools.local_stack.aws import REGION, Clients
from tools.local_stack.signing_secrets import new_signing_secret
from tools.local_stack.simulator_client import SimulatorControl

if TYPE_CHECKING:
    from mypy_boto3_apigateway.type_defs import PatchOperationTypeDef

STATE = ROOT / ".local"
STAGE = "local"
DEFAULT_CLIENT = "internal"
TOKEN_SECONDS = 1080
"""Lifetime of an access token, as in Marketing Cloud."""
SECRET_LIFETIME = timedelta(days=180)
"""Lifetime of a client secret, as in Marketing Cloud."""
SENDS_AT_ONCE = "20"
"""Two workers, the minimum, because each starts its own process."""
QUEUE_SENDER_ARNS = "arn:aws:sns:us-east-1:123456789012:orders"
"""The topic of events/envelopes/sns-notification.json."""
EXAMPLE_CLIENT = "shop"
"""The client of the webhooks and IAM calls in the docs' examples."""
ROOT_USER = "arn:aws:iam::000000000000:root"
"""The owner of the access key `test` in MiniStack."""
FIRST_CLIENT_LIMITS = ("--rate", "1000", "--burst", "2000")
"""High limits of requests per second and at once, because tests post in bursts."""
NOT_PUBLISHED = ("state", "functions")


class StartError(Exception):
    """The stack did not start; the message says why, and what to do."""


class NoTokenError(Exception):
    """The token renewer fetched no access token."""


class NoClientError(Exception):
    """The command added no first client; the message contains its error output."""


@dataclass(frozen=True)
class Stack:
    """Addresses and names of a running stack."""

    api_url: str
    api_key: str = field(repr=False)
    """Of the default client."""
    webhook_secret: str = field(repr=False)
    """Of the examples' client."""
    queue_url: str
    dead_letter_queue_url: str
    table: str
    token_secret: str
    simulator_url: str
    aws_endpoint_url: str
    region: str
    marker: str
    """Identifies this stack's processes."""
    pids: dict[str, int]
    """Process ids of the two servers, without those of functions, which change."""
    data: Path
    """The folder with MiniStack's files, which is deleted when the stack ends."""
    state: Path
    """The folder with the logs."""
    functions: dict[str, str]
    """Physical names of the functions by their names in the template."""
    credentials_secret: str
    token_renewer: str
    """The name of the function."""
    webhook_secret_prefix: str
    """Prefix of the names of webhook secrets."""
    catalogue_parameter: str
    """The SSM parameter with the message catalogue."""
    callback_secret_prefix: str
    """Prefix of the names of callback secrets."""
    default_client: str
    """The client of queue messages without a client."""
    version: str
    """The deployed version of smsrelay."""

    @cached_property
    def clients(self) -> Clients:
        """boto3 clients of the MiniStack."""
        return Clients(self.aws_endpoint_url, self.region)

    @property
    def phone_url(self) -> str:
        """The simulator's page, which shows messages as on a phone."""
        return f"{self.simulator_url}/"

    @property
    def docs_url(self) -> str:
        """The HTML page with the API's documentation."""
        return f"{self.api_url}/docs"

    def published(self) -> dict[str, Any]:
        """Return the content of stack.json: addresses, and what `make down` needs."""
        return {
            name: str(value) if isinstance(value, Path) else value
            for name, value in asdict(self).items()
            if name not in NOT_PUBLISHED
        } | {"phone_url": self.phone_url, "docs_url": self.docs_url}


class LocalStack:
    """A local stack; several can run at the same time.

    As a context manager, it stops the stack at the end of the block, on Ctrl-C and on SIGTERM.
    `start()` alone leaves it running.
    """

    def __init__(
        self,
        state: Path = STATE,
        *,
        parameters: Mapping[str, str] | None = None,
        token_seconds: int = TOKEN_SECONDS,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Prepare a stack, without starting it.

        Args:
            state: the folder for its logs.
            parameters: parameters of template.yaml that differ from their defaults.
            token_seconds: lifetime of the simulator's access tokens.
            say: is called with each line of progress.
        """
        self._state = state
        self._parameters = dict(parameters or {})
        self._client = servers.Client("local-stack", secrets.token_hex(24), token_seconds)
        self._say = say
        self._marker = processes.new_marker()
        self._data = Path(tempfile.gettempdir()) / f"smsrelay-{self._marker}"
        self._children: list[subprocess.Popen[bytes]] = []
        self._signal_taken = False

    def __enter__(self) -> Stack:
        self._take_signal()
        atexit.register(self.stop)
        try:
            return self.start()
        except BaseException:
            self._release()
            raise

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._release()

    def start(self, port: int = 0, kept: Mapping[str, Any] | None = None) -> Stack:
        """Start both servers, deploy the template, and return the running stack.

        Args:
            port: port of the API and AWS; the simulator has the next one. 0: free ports.
            kept: stack.json of an earlier stack, whose secrets this one uses.

        Raises:
            StartError: the stack did not start; no process remains.
            BrokenPipeError: the reader of the progress has ended; no process remains.
        """
        try:
            return self._start(port, kept or {})
        except BaseException as error:
            self.stop()
            if isinstance(error, Exception) and not isinstance(error, BrokenPipeError):
                raise StartError(self._explained(error)) from error
            raise

    def stop(self) -> int:
        """End all processes of this stack, and delete its data, but not its logs.

        Returns:
            the number of ended processes.
        """
        ended = processes.stop(self._marker, self._children)
        self._children.clear()
        shutil.rmtree(self._data, ignore_errors=True)
        return ended

    def _start(self, api_port: int, kept: Mapping[str, Any]) -> Stack:
        artefacts = build.artefacts(self._say)
        self._state.mkdir(parents=True, exist_ok=True)
        self._data.mkdir(mode=0o700)
        for log in (servers.simulator_log(self._state), servers.emulator_log(self._state)):
            log.write_bytes(b"")

        began = time.monotonic()
        self._say("starting the MobileConnect simulator and MiniStack …")
        page_port = api_port + 1 if api_port else 0
        for port in (api_port, page_port):
            servers.check_port(port)
        simulator = servers.launch_simulator(
            self._state, self._data, self._marker, self._client, page_port
        )
        self._children.append(simulator)
        emulator = servers.start_emulator(self._state, self._data, self._marker, api_port)
        self._children.append(emulator.process)
        simulator_url = servers.simulator_url(self._data, simulator)
        self._say(f"started in {time.monotonic() - began:.1f} s")

        began = time.monotonic()
        self._say("deploying template.yaml …")
        clients = Clients(emulator.url)
        parameters = {
            "Stage": STAGE,
            "Architecture": build.architecture(),
            "UpstreamHosts": "http://127.0.0.1",
            "DefaultClient": DEFAULT_CLIENT,
            "QueueSenderArns": QUEUE_SENDER_ARNS,
            "IamAccess": "on",
            "Webhooks": "on",
            "Catalogue": "on",
            "EventBus": status_receiver.BUS,
            "Callbacks": "on",
            "MaxConcurrentSends": SENDS_AT_ONCE,
            **self._parameters,
        }
        outputs = deployment.deploy(clients, artefacts, parameters)
        functions = deployment.function_names(clients)
        self._say(f"deployed in {time.monotonic() - began:.1f} s")
        if credentials_secret := outputs.get("CredentialsSecretArn"):
            self._fetch_token(clients, credentials_secret, simulator_url, functions)
        stack = Stack(
            api_url=f"{emulator.url}/_aws/execute-api/{outputs['RestApiId']}/{STAGE}",
            api_key="",
            webhook_secret=kept.get("webhook_secret") or new_signing_secret(),
            queue_url=outputs["QueueUrl"],
            dead_letter_queue_url=outputs["DeadLetterQueueUrl"],
            table=outputs["TableName"],
            token_secret=outputs["TokenSecretArn"],
            simulator_url=simulator_url,
            aws_endpoint_url=emulator.url,
            region=REGION,
            marker=self._marker,
            pids={"simulator": simulator.pid, "ministack": emulator.process.pid},
            data=self._data,
            state=self._state,
            functions=functions,
            credentials_secret=credentials_secret or "",
            token_renewer=functions.get("TokenRenewerFunction", ""),
            webhook_secret_prefix=outputs["WebhookSecretPrefix"],
            catalogue_parameter=outputs.get("CatalogueParameter", ""),
            callback_secret_prefix=outputs.get("CallbackSecretPrefix", ""),
            default_client=parameters["DefaultClient"],
            version=outputs["Version"],
        )
        stack = replace(stack, api_key=self._add_first_client(stack, kept.get("api_key")))
        _register_examples(stack)
        secret = self._receive_changes(stack)
        with SimulatorControl(simulator_url) as simulator_control:
            simulator_control.introduce_relay(stack.api_url, stack.api_key, secret)
        return stack

    def _fetch_token(
        self, clients: Clients, secret: str, simulator_url: str, functions: Mapping[str, str]
    ) -> None:
        """Store the client credentials, as operators do, and fetch a token without the schedule."""
        began = time.monotonic()
        credentials = {
            "client_id": self._client.id,
            "client_secret": self._client.secret,
            "auth_base_url": simulator_url,
            "expires_at": (datetime.now(UTC) + SECRET_LIFETIME).date().isoformat(),
        }
        clients.secretsmanager.put_secret_value(
            SecretId=secret, SecretString=json.dumps(credentials)
        )
        answer = clients.lambda_.invoke(
            FunctionName=functions["TokenRenewerFunction"], Payload="{}"
        )
        result = json.load(answer["Payload"])
        if result.get("did") != "renewed":
            raise NoTokenError(f"the token renewer fetched no access token: {result}")
        self._say(f"fetched an access token in {time.monotonic() - began:.1f} s")

    def _receive_changes(self, stack: Stack) -> str | None:
        """Send events and callbacks to the phone page; return the callbacks' secret, if any."""
        status_receiver.send_events(stack.clients, stack.simulator_url)
        if not (stack.callback_secret_prefix and stack.catalogue_parameter):
            return None
        return status_receiver.send_callbacks(
            stack.clients,
            stack.simulator_url,
            client=stack.default_client,
            secret_prefix=stack.callback_secret_prefix,
            catalogue=stack.catalogue_parameter,
        )

    def _add_first_client(self, stack: Stack, kept: str | None) -> str:
        """Add the default client, as operators do after a deployment, and return its API key."""
        began = time.monotonic()
        file = self._data / "stack.json"
        file.write_text(json.dumps(stack.published()))
        command = [str(ROOT / "cli/smsrelay"), "--stack-file", str(file), "--json"]
        command += ["client", "add", stack.default_client, "--default", "--show"]
        ended = subprocess.run(  # noqa: S603 - this project's own command
            [*command, *FIRST_CLIENT_LIMITS], capture_output=True, text=True, check=False
        )
        if ended.returncode:
            raise NoClientError(ended.stderr)
        self._say(f"added the client {stack.default_client} in {time.monotonic() - began:.1f} s")
        made: dict[str, str] = json.loads(ended.stdout)
        if kept is None:
            return made["key"]
        value: PatchOperationTypeDef = {"op": "replace", "path": "/value", "value": kept}
        # MiniStack supports this; API Gateway does not.
        stack.clients.apigateway.update_api_key(apiKey=made["keyId"], patchOperations=[value])
        return kept

    def _take_signal(self) -> None:
        """Handle SIGTERM like Ctrl-C, unless the program has another handler."""
        in_main_thread = threading.current_thread() is threading.main_thread()
        if in_main_thread and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
            signal.signal(signal.SIGTERM, _interrupt)
            self._signal_taken = True

    def _release(self) -> None:
        atexit.unregister(self.stop)
        if self._signal_taken:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            self._signal_taken = False

    def _explained(self, error: Exception) -> str:
        if isinstance(error, build.BuildError | servers.PortError):
            return str(error)
        simulator = servers.simulator_log(self._state)
        emulator = servers.emulator_log(self._state)
        return (
            f"The local stack did not start: {error}\n"
            f"--- {simulator}\n{processes.last_lines(simulator)}\n"
            f"--- {emulator}\n{processes.last_lines(emulator)}\n"
            "---\nNothing is left running. If the logs do not say why: `make clean`, then retry."
        )


def _register_examples(stack: Stack) -> None:
    """Register the docs' examples: a webhook client, and MiniStack's root user."""
    stack.clients.secretsmanager.create_secret(
        Name=f"{stack.webhook_secret_prefix}{EXAMPLE_CLIENT}",
        SecretString=json.dumps({"current": stack.webhook_secret}),
    )
    # `smsrelay client allow` refuses a root user.
    registered = {"pk": f"CLIENT#{ROOT_USER}", "sk": "NAME", "client": EXAMPLE_CLIENT}
    stack.clients.dynamodb.put_item(
        TableName=stack.table, Item={name: {"S": value} for name, value in registered.items()}
    )


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
