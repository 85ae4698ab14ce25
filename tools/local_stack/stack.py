"""The local stack: MobileConnect simulator and MiniStack with template.yaml deployed to it."""

import atexit
import base64
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
from tools.local_stack.simulator_client import SimulatorControl

if TYPE_CHECKING:
    from mypy_boto3_apigateway.type_defs import PatchOperationTypeDef

STATE = ROOT / ".local"
STAGE = "local"
DEFAULT_CLIENT = "internal"
TOKEN_SECONDS = 1080
"""Life of an access token, as the upstream has it."""
SECRET_LIFETIME = timedelta(days=180)
"""Life of a client secret, as the upstream has it."""
SENDS_AT_ONCE = "20"
"""By two workers, the least there can be: each starts a process of its own."""
QUEUE_SENDER_ARNS = "arn:aws:sns:us-east-1:123456789012:orders"
"""The topic of events/envelopes/sns-notification.json."""
EXAMPLE_CLIENT = "shop"
"""The client of the webhooks and IAM calls in the docs' examples."""
ROOT_USER = "arn:aws:iam::000000000000:root"
"""Whose access key `test` is, in MiniStack."""
FIRST_CLIENT_LIMITS = ("--rate", "1000", "--burst", "2000")
"""What is tried here comes in bursts; requests a second, and at once."""
NOT_PUBLISHED = ("state", "functions")


class StartError(Exception):
    """The stack did not start; the message says why, and what to do, for people."""


class NoTokenError(Exception):
    """The token function did not do its work."""


class NoClientError(Exception):
    """The command made no first client; the message holds what it said."""


@dataclass(frozen=True)
class Stack:
    """Where a running stack is."""

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
    """What tells this stack's processes from all others."""
    pids: dict[str, int]
    """The two servers; the processes of the functions come and go."""
    data: Path
    """The folder with MiniStack's files, which goes when the stack ends."""
    state: Path
    """The folder with the logs."""
    functions: dict[str, str]
    """Names of the functions by their names in the template."""
    credentials_secret: str
    token_renewer: str
    """The name of the function."""
    webhook_secret_prefix: str
    """What the names of the webhooks' secrets begin with."""
    catalogue_parameter: str
    """The SSM parameter with the message catalogue."""
    callback_secret_prefix: str
    """What the names of the secrets begin with that callbacks are signed with."""
    default_client: str
    """The client of a queue message that names none."""
    version: str
    """The version of smsrelay that is deployed."""

    @cached_property
    def clients(self) -> Clients:
        """boto3 clients of the MiniStack."""
        return Clients(self.aws_endpoint_url, self.region)

    @property
    def phone_url(self) -> str:
        """The simulator's page: what would arrive, as on a phone."""
        return f"{self.simulator_url}/"

    @property
    def docs_url(self) -> str:
        """The API's documentation, as a page."""
        return f"{self.api_url}/docs"

    def published(self) -> dict[str, Any]:
        """What stack.json holds: the addresses, and what `make down` needs."""
        return {
            name: str(value) if isinstance(value, Path) else value
            for name, value in asdict(self).items()
            if name not in NOT_PUBLISHED
        } | {"phone_url": self.phone_url, "docs_url": self.docs_url}


class LocalStack:
    """A stack of its own; any number of them run side by side.

    As a context manager it ends with the block, with Ctrl-C and with SIGTERM. `start()` alone
    leaves it running.
    """

    def __init__(
        self,
        state: Path = STATE,
        *,
        parameters: Mapping[str, str] | None = None,
        token_seconds: int = TOKEN_SECONDS,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Prepare a stack; nothing runs yet.

        Args:
            state: the folder for its logs.
            parameters: parameters of template.yaml that are to differ from their defaults.
            token_seconds: life of the access tokens that the simulator gives out.
            say: takes each line of progress.
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
        """Start everything, and return when it is deployed.

        Args:
            port: of the API and all of AWS; the simulator has the next one. 0: free ones.
            kept: what an earlier stack has published; this one takes over its secrets.

        Raises:
            StartError: something did not start; nothing is left running.
            BrokenPipeError: the reader of the progress has ended; nothing is left running.
        """
        try:
            return self._start(port, kept or {})
        except BaseException as error:
            self.stop()
            if isinstance(error, Exception) and not isinstance(error, BrokenPipeError):
                raise StartError(self._explained(error)) from error
            raise

    def stop(self) -> int:
        """End all processes of this stack, and remove its data. Its logs stay.

        Returns:
            the number of processes that were ended.
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
            webhook_secret=kept.get("webhook_secret") or _new_webhook_secret(),
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
        """Do what a deployment asks of people, and what its schedule would do minutes later."""
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
            raise NoTokenError(f"the token function fetched no access token: {result}")
        self._say(f"fetched an access token in {time.monotonic() - began:.1f} s")

    def _receive_changes(self, stack: Stack) -> str | None:
        """Send events and callbacks to the phone page; the secret of the callbacks, if any."""
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
        """Do what the guide asks of people after a deployment; the key of the default client."""
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
        # API Gateway can't do this, MiniStack can.
        stack.clients.apigateway.update_api_key(apiKey=made["keyId"], patchOperations=[value])
        return kept

    def _take_signal(self) -> None:
        """Let SIGTERM unwind the program like Ctrl-C does, where nothing else is set for it."""
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
            "---\nNothing is left running. If the logs do not say why: `make clean`, then again."
        )


def _register_examples(stack: Stack) -> None:
    """Let the docs' examples post with webhooks, and with the credentials of MiniStack's root."""
    stack.clients.secretsmanager.create_secret(
        Name=f"{stack.webhook_secret_prefix}{EXAMPLE_CLIENT}",
        SecretString=json.dumps({"current": stack.webhook_secret}),
    )
    # `smsrelay client allow` refuses a root user.
    registered = {"pk": f"CLIENT#{ROOT_USER}", "sk": "NAME", "client": EXAMPLE_CLIENT}
    stack.clients.dynamodb.put_item(
        TableName=stack.table, Item={name: {"S": value} for name, value in registered.items()}
    )


def _new_webhook_secret() -> str:
    return "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
