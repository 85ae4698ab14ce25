"""Calls of AWS as botocore makes them, in a third of its time.

botocore leads each call through dozens of events, five forms of a request and urllib3, for 400
services and their peculiarities. What a send waits for are a few operations of services that take
JSON over POST. Their requests are put together and signed in one go, and go out over the same kind
of connections as the upstream's: one TLS context for all, and no connection that may have died
while the environment was frozen.

What goes out is what botocore sends, byte by byte (a test compares). What comes back is read by its
parsers, and retries, waits and errors are its own; so is every call that is not of the usual kind:
other operations, a proxy, certificates of one's own.
"""

import hashlib
import hmac
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import httpcore
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.compat import get_current_datetime
from botocore.endpoint import Endpoint, convert_to_response_dict
from botocore.exceptions import (
    BotoCoreError,
    ConnectionClosedError,
    ConnectTimeoutError,
    EndpointConnectionError,
    ReadTimeoutError,
)
from botocore.hooks import first_non_none_response
from botocore.utils import get_environ_proxies

if TYPE_CHECKING:
    from botocore.model import OperationModel

OPERATIONS: Final = frozenset(
    {
        ("dynamodb", "PutItem"),
        ("dynamodb", "UpdateItem"),
        ("dynamodb", "Query"),
        ("secretsmanager", "GetSecretValue"),
        ("sqs", "SendMessage"),
        ("sqs", "ChangeMessageVisibility"),
    }
)
"""Their parameters are JSON as they are: neither bytes nor times, and nothing that is filled in."""

_ALGORITHM: Final = "AWS4-HMAC-SHA256"
_REFUSED: Final = 300
"""HTTP statuses from here on are no success."""
_FAILURES: Final[Mapping[type[Exception], type[BotoCoreError]]] = {
    httpcore.ConnectTimeout: ConnectTimeoutError,
    httpcore.ConnectError: EndpointConnectionError,
    httpcore.TimeoutException: ReadTimeoutError,
    httpcore.NetworkError: ConnectionClosedError,
    httpcore.ProtocolError: ConnectionClosedError,
}
"""What botocore calls a failure; from the most special to the most general."""

Params = dict[str, Any]


class QuickClient:
    """Stands before botocore's `BaseClient` in the classes of clients."""

    def _make_api_call(self: Any, operation_name: str, api_params: Params) -> Any:  # noqa: ANN401 - botocore has no types
        service, endpoint = self._service_model, self._endpoint
        usual = isinstance(endpoint, QuickEndpoint)
        if not usual or (service.service_name, operation_name) not in OPERATIONS:
            return super()._make_api_call(operation_name, api_params)  # type: ignore[misc] # BaseClient's
        operation = service.operation_model(operation_name)
        begun = self._begun(operation, api_params)
        context = dict(begun["context"])
        request = begun | {"context": context, "body": json.dumps(api_params).encode()}
        http, parsed = endpoint.make_request(operation, request)
        self.meta.events.emit(
            f"after-call.{service.service_id.hyphenize()}.{operation_name}",
            http_response=http,
            parsed=parsed,
            model=operation,
            context=context,
        )
        if http.status_code < _REFUSED:
            return parsed
        code = context.get("error_code_override") or parsed.get("Error", {}).get("Code")
        raise self.exceptions.from_code(code)(parsed, operation_name)

    def _begun(self: Any, operation: "OperationModel", api_params: Params) -> Params:
        """What all calls of an operation have in common, of those that name the same resource."""
        named = (operation.name, api_params.get("TableName"), api_params.get("QueueUrl"))
        known: dict[tuple[str | None, ...], Params] = vars(self).setdefault("_known", {})
        if named not in known:
            context: Params = {"client_config": self.meta.config}
            # botocore works out where a call goes, by what it names among other things.
            url, _, _ = self._resolve_endpoint_ruleset(operation, api_params, context)
            metadata = self._service_model.metadata
            headers = {
                "X-Amz-Target": f"{metadata['targetPrefix']}.{operation.name}",
                "Content-Type": f"application/x-amz-json-{metadata['jsonVersion']}",
                "User-Agent": self._user_agent_creator.to_string(),
            }
            if "awsQueryCompatible" in metadata:  # errors by the names of the older protocol
                headers["x-amzn-query-mode"] = "true"
            known[named] = {"url": f"{url.rstrip('/')}/", "headers": headers, "context": context}
        return known[named]


class QuickEndpoint(Endpoint):
    """botocore's endpoint, for requests that `QuickClient` has begun and for all others."""

    def __init__(
        self,
        endpoint: Endpoint,
        signer: Any,  # noqa: ANN401 - its stub knows no credentials
        config: Any,  # noqa: ANN401 - its stub knows no fields
        connections: httpcore.ConnectionPool,
    ) -> None:
        """Take the place of a client's `endpoint`."""
        vars(self).update(vars(endpoint))
        self._signer = signer
        self._connections = connections
        self._timeouts = {
            "connect": config.connect_timeout,
            "read": config.read_timeout,
            "write": config.read_timeout,
            "pool": config.connect_timeout,
        }
        self._keys: dict[tuple[str, ...], bytes] = {}
        self._events: Any = vars(endpoint)["_event_emitter"]
        self._parser: Any = vars(endpoint)["_response_parser_factory"].create_parser("json")

    def create_request(
        self, params: Mapping[str, Any], operation_model: "OperationModel | None" = None
    ) -> AWSPreparedRequest:
        """A request that is ready to be sent, signed anew for each attempt."""
        if "method" in params:  # botocore's own
            return super().create_request(params, operation_model)  # type: ignore[no-any-return] # same
        retries = params["context"]["retries"]
        told = [f"{key}={retries[key]}" for key in ("ttl", "attempt", "max") if key in retries]
        headers = (
            params["headers"]
            | self._signature(params)
            | {
                "amz-sdk-invocation-id": retries["invocation-id"],
                "amz-sdk-request": "; ".join(told),
                "Content-Length": str(len(params["body"])),
            }
        )
        sent: Any = {name: value.encode() for name, value in headers.items()}
        return _QuickRequest("POST", params["url"], sent, params["body"], stream_output=False)

    def _signature(self, params: Mapping[str, Any]) -> dict[str, str]:
        """The headers that Signature Version 4 adds."""
        credentials = self._signer._credentials.get_frozen_credentials()  # noqa: SLF001 - where a client has them
        signing = params["context"].get("signing", {})
        now = get_current_datetime().strftime("%Y%m%dT%H%M%SZ")
        where = (
            now[:8],
            signing.get("region") or self._signer.region_name,
            signing.get("signing_name") or self._signer.signing_name,
        )
        added = {"X-Amz-Date": now}
        if credentials.token:
            added["X-Amz-Security-Token"] = credentials.token
        url = urlsplit(params["url"])
        signed = {name.lower(): value for name, value in (params["headers"] | added).items()}
        del signed["user-agent"]
        signed["host"] = url.netloc
        names = ";".join(sorted(signed))
        request = "\n".join(
            (
                f"POST\n{url.path}\n",
                *(f"{name}:{signed[name]}" for name in sorted(signed)),
                f"\n{names}\n{hashlib.sha256(params['body']).hexdigest()}",
            )
        )
        scope = "/".join((*where, "aws4_request"))
        digest = hashlib.sha256(request.encode()).hexdigest()
        key = self._key(credentials.secret_key, *where)
        signature = _hmac(key, f"{_ALGORITHM}\n{now}\n{scope}\n{digest}").hex()
        credential = f"{credentials.access_key}/{scope}"
        added["Authorization"] = (
            f"{_ALGORITHM} Credential={credential}, SignedHeaders={names}, Signature={signature}"
        )
        return added

    def _key(self, secret: str, *where: str) -> bytes:
        """The key of a day, made once and forgotten with the day."""
        place = (secret, *where)
        key = self._keys.get(place)
        if key is None:
            key = f"AWS4{secret}".encode()
            for part in (*where, "aws4_request"):
                key = _hmac(key, part)
            self._keys = {place: key}  # replaced, not changed: other threads may be reading it
        return key

    def _send(self, request: AWSPreparedRequest) -> Any:  # noqa: ANN401 - same
        body = request.body
        if not isinstance(request, _QuickRequest) or not isinstance(body, bytes):
            return super()._send(request)  # type: ignore[misc] # not in its types
        try:
            response = self._connections.request(
                "POST",
                request.url,
                headers=[("Host", urlsplit(request.url).netloc), *request.headers.items()],
                content=body,
                extensions={"timeout": self._timeouts},
            )
        except tuple(_FAILURES) as error:
            kind = next(kind for cause, kind in _FAILURES.items() if isinstance(error, cause))
            raise kind(error=error, endpoint_url=request.url) from error
        return _QuickResponse(request.url, response)

    def _do_get_response(
        self,
        request: AWSPreparedRequest,
        operation_model: "OperationModel",
        context: Mapping[str, Any],
    ) -> Any:  # noqa: ANN401 - what botocore makes of it, and why there is nothing
        if not isinstance(request, _QuickRequest):
            return super()._do_get_response(request, operation_model, context)  # type: ignore[misc] # not in its types
        service = operation_model.service_model
        event = f"before-send.{service.service_id.hyphenize()}.{operation_model.name}"
        try:
            answers = self._events.emit(event, request=request)
            http = first_non_none_response(answers) or self._send(request)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is looked at for a retry
            return None, error
        told = convert_to_response_dict(http, operation_model)
        parsed = self._parser.parse(told, operation_model.output_shape)
        if http.status_code >= _REFUSED:
            self._add_modeled_error_fields(told, parsed, operation_model, self._parser)  # type: ignore[attr-defined] # same
        return (http, parsed), None

    def _needs_retry(
        self,
        attempts: int,
        operation_model: "OperationModel",
        request_dict: Mapping[str, Any],
        response: tuple[AWSResponse, Any] | None = None,
        caught_exception: Exception | None = None,
    ) -> bool:
        if response is not None and response[0].status_code < _REFUSED:
            return False
        arguments = (attempts, operation_model, request_dict, response, caught_exception)
        return bool(super()._needs_retry(*arguments))  # type: ignore[misc] # not in its types

    def close(self) -> None:
        """Close all connections; the next call opens one."""
        super().close()
        self._connections.close()


class _QuickRequest(AWSPreparedRequest):
    """A request of our own making."""


class _QuickResponse(AWSResponse):
    """An answer that has been read."""

    def __init__(self, url: str, response: httpcore.Response) -> None:
        headers: Any = {
            name.decode("latin-1"): told.decode("latin-1") for name, told in response.headers
        }
        super().__init__(url, response.status, headers, None)
        self._content = response.content


def in_place_of(client: Any, connections: httpcore.ConnectionPool) -> Endpoint:  # noqa: ANN401 - any service's
    """The endpoint that a client is to have: a quick one, if its calls are of the usual kind."""
    endpoint, signer = client._endpoint, client._request_signer  # noqa: SLF001 - botocore has no other way to them
    config = client.meta.config
    if (
        signer.signature_version != "v4"
        or client.meta.service_model.resolved_protocol != "json"
        or endpoint.http_session._verify is not True  # noqa: SLF001 - same
        or config.client_cert
        or config.proxies
        or get_environ_proxies(client.meta.endpoint_url)
    ):
        return endpoint  # type: ignore[no-any-return] # botocore's
    return QuickEndpoint(endpoint, signer, config, connections)


def _hmac(key: bytes, text: str) -> bytes:
    return hmac.digest(key, text.encode(), "sha256")
