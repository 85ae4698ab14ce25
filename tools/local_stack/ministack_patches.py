"""Starts MiniStack, with AWS behaviour that it lacks and this project relies on.

Run `python -m tools.local_stack.ministack_patches` with MiniStack's environment variables as
settings. Each patch describes what AWS does. tests/e2e/test_local_stack.py tests them, and shows
when a new version of MiniStack makes one unnecessary.
"""

# ruff: noqa: SLF001 - MiniStack has no hooks for this

import functools
import io
import json
import logging
import os
import re
import tempfile
import threading
import zipfile
from contextvars import ContextVar
from typing import Any

from ministack import app  # type: ignore[import-untyped]  # ministack has no type marker
from ministack.core import (  # type: ignore[import-untyped]  # same
    iam_actions,
    iam_evaluator,
    lambda_runtime,
)
from ministack.services import (  # type: ignore[import-untyped]  # same
    apigateway_v1,
    cloudwatch_logs,
    eventbridge,
    lambda_svc,
    scheduler,
)
from ministack.services.cloudformation import (  # type: ignore[import-untyped]  # same
    engine,
    helpers,
    provisioners,
)

from tools.local_stack.polling import wait_for
from tools.local_stack.servers import DENIED

LARGEST_EVENT = 6 * 1024 * 1024
"""Maximum bytes of a synchronous invocation; API Gateway answers 413 above it."""
LONGEST_TURN = 60.0
"""Seconds that an invocation waits for one of a function's reserved executions."""
CALLER = (
    "accessKey",
    "accountId",
    "caller",
    "cognitoAuthenticationProvider",
    "cognitoAuthenticationType",
    "cognitoIdentityId",
    "cognitoIdentityPoolId",
    "principalOrgId",
    "user",
    "userArn",
)
"""The members of `requestContext.identity` for signed requests; null for unsigned ones."""
LOCAL_NAMES = {b"127.0.0.1", b"localhost"}
OWN_PAGES = {b"none", b"same-origin"}
"""Sec-Fetch-Site of an address that a person typed, and of links on MiniStack's own pages."""
DOCS_PATH = re.compile(r"/_aws/execute-api/[a-z0-9]+/[A-Za-z0-9_-]+/docs")
"""The phone page, on another port of this machine, links to it. Browsers call that same-site."""
BATCHES = {"sqs:SendMessageBatch", "sqs:ChangeMessageVisibilityBatch", "sqs:DeleteMessageBatch"}
NOT_LOCAL = b"The local stack answers only programs on this machine and its own pages.\n"


def build_events_as_aws_does() -> None:
    """AWS does not decode paths; `requestContext.path` is the whole path of the URL.

    `path` lacks the stage only at the default endpoint. AWS also names the caller's API key.
    MiniStack decodes paths, so a slash in a parameter would lead to another route. Sources:
    tests/support/recorded_gateway_events.json.
    """
    handle = app._handle_execute_api_request
    build_event = apigateway_v1._build_lambda_event_v1
    url_path = ContextVar[str]("url_path")

    async def with_encoded_path(host: str, path: str, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - passed through
        encoded = kwargs.get("raw_path") or path
        url_path.set(encoded)
        return await handle(host, encoded, *args, **kwargs)

    def as_aws_does(*args: Any, **kwargs: Any) -> dict[str, Any]:  # noqa: ANN401 - passed through
        event: dict[str, Any] = build_event(*args, **kwargs)
        del event["version"]  # of HTTP APIs
        host = event["headers"]["host"]
        if app._parse_execute_api_url(host, url_path.get()) is None:  # a custom domain
            event["path"] = url_path.get()
        values = event["multiValueQueryStringParameters"] or {}
        event["queryStringParameters"] = {name: it[-1] for name, it in values.items()} or None
        identity = dict.fromkeys(CALLER) | event["requestContext"]["identity"]
        value = event["headers"].get("x-api-key")
        if key := apigateway_v1._resolve_api_key(value):
            identity |= {"apiKey": value, "apiKeyId": key["id"]}
        name = host.partition(":")[0]
        event["requestContext"] |= {
            "deploymentId": args[2].get("deploymentId"),
            "domainName": name,
            "domainPrefix": name.partition(".")[0],
            "identity": identity,
            "path": url_path.get(),
        }
        return event

    app._handle_execute_api_request = with_encoded_path
    apigateway_v1._build_lambda_event_v1 = as_aws_does


def import_gateway_responses() -> None:
    """AWS imports the gateway responses from the API's OpenAPI document."""
    import_api = apigateway_v1._import_rest_api

    def with_responses(spec: dict[str, Any], base_data: dict[str, Any] | None = None) -> str:
        api_id: str = import_api(spec, base_data)
        responses = spec.get("x-amazon-apigateway-gateway-responses") or {}
        for response_type, response in responses.items():
            apigateway_v1._put_gateway_response(api_id, response_type, response)
        return api_id

    apigateway_v1._import_rest_api = with_responses


def import_request_models() -> None:
    """AWS imports models and validators from the API's OpenAPI document.

    It validates bodies whose content type has a model, and passes all others on.
    """
    import_api = apigateway_v1._import_rest_api
    check = apigateway_v1._check_request_validation

    def with_models(spec: dict[str, Any], base_data: dict[str, Any] | None = None) -> str:
        api_id: str = import_api(spec, base_data)
        for name, schema in spec.get("components", {}).get("schemas", {}).items():
            apigateway_v1._create_model(api_id, {"name": name, "schema": json.dumps(schema)})
        validators = {}
        for name, what in spec.get("x-amazon-apigateway-request-validators", {}).items():
            _, _, body = apigateway_v1._create_request_validator(api_id, {"name": name} | what)
            validators[name] = json.loads(body)["id"]
        for resource in apigateway_v1._resources[api_id].values():
            for verb, method in resource["resourceMethods"].items():
                operation = spec["paths"][resource["path"]][verb.lower()]
                if name := operation.get("x-amazon-apigateway-request-validator"):
                    method["requestValidatorId"] = validators[name]
                    method["requestModels"] = {
                        content_type: content["schema"]["$ref"].rpartition("/")[2]
                        for content_type, content in operation["requestBody"]["content"].items()
                    }
        return api_id

    def checked(method: dict[str, Any], *args: Any) -> Any:  # noqa: ANN401 - passed through
        headers: dict[str, str] = args[2]
        given = apigateway_v1._header_ci(headers, "content-type") or "application/json"
        has_model = given.partition(";")[0].strip() in method.get("requestModels", {})
        return check(method, *args) if has_model else None

    apigateway_v1._import_rest_api = with_models
    apigateway_v1._check_request_validation = checked


def convert_limits() -> None:
    """API Gateway converts the text values of a PATCH to the numbers of a usage plan."""
    update = apigateway_v1._update_usage_plan

    def converted(plan_id: str, data: dict[str, Any]) -> Any:  # noqa: ANN401 - passed through
        for operation in data["patchOperations"]:
            if str(operation.get("value")).isdecimal():
                operation["value"] = int(operation["value"])
        return update(plan_id, data)

    apigateway_v1._update_usage_plan = converted


def refuse_large_requests() -> None:
    """AWS answers 413 to requests that are too large for a function."""
    invoke = apigateway_v1._invoke_lambda_proxy_v1

    async def limited(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - passed through
        body = args[8]
        if body and len(body) > LARGEST_EVENT:
            return apigateway_v1._gw_error("REQUEST_TOO_LARGE", "Request Too Long")
        return await invoke(*args, **kwargs)

    apigateway_v1._invoke_lambda_proxy_v1 = limited


def convert_concurrency() -> None:
    """CloudFormation converts a parameter, which is always text, to the type of the property.

    A MaximumConcurrency that is text stops MiniStack's polling of all queues.
    """
    concurrency = lambda_svc._sqs_esm_concurrency

    def converted(esm: dict[str, Any], *args: Any) -> int:  # noqa: ANN401 - passed through
        scaling = esm.get("ScalingConfig") or {}
        if "MaximumConcurrency" in scaling:
            scaling["MaximumConcurrency"] = int(scaling["MaximumConcurrency"])
        limit: int = concurrency(esm, *args)
        return limit

    lambda_svc._sqs_esm_concurrency = converted


def convert_variables() -> None:
    """CloudFormation converts environment variables to text, including numbers of a mapping.

    Each function also gets a variable that no template sets: it allows callbacks to loopback.
    """
    handlers = provisioners._RESOURCE_HANDLERS["AWS::Lambda::Function"]
    create, update = handlers["create"], handlers["update"]

    def converted(props: dict[str, Any]) -> dict[str, Any]:
        variables = props.get("Environment", {}).get("Variables", {})
        texts = {name: str(value) for name, value in variables.items()}
        environment = {"Variables": texts | {"LOOPBACK_CALLBACKS": "on"}}
        return props | {"Environment": environment}

    def created(logical_id: str, props: dict[str, Any], stack_name: str) -> Any:  # noqa: ANN401 - passed through
        return create(logical_id, converted(props), stack_name)

    def updated(
        physical_id: str,
        before: dict[str, Any],
        after: dict[str, Any],
        stack_name: str,
        logical_id: str | None = None,
    ) -> Any:  # noqa: ANN401 - passed through
        return update(physical_id, converted(before), converted(after), stack_name, logical_id)

    handlers |= {"create": created, "update": updated}


def skip_unsupported_resources() -> None:
    """CloudFormation creates saved queries and alarms on metric math; MiniStack rejects both.

    Here such a resource is reported as created, but does not exist. No other resource uses it.
    """
    put_alarm = provisioners._cw_metric_alarm_put

    def made(logical_id: str, _props: dict[str, Any], stack_name: str) -> Any:  # noqa: ANN401 - as MiniStack's
        return f"{stack_name}-{logical_id}", {}

    def put(name: str, props: dict[str, Any]) -> Any:  # noqa: ANN401 - passed through
        return (name, {}) if "Metrics" in props else put_alarm(name, props)

    handlers = provisioners._RESOURCE_HANDLERS
    handlers["AWS::Logs::QueryDefinition"] = {"create": made, "delete": lambda *_: None}
    provisioners._cw_metric_alarm_put = put


def address_nested_templates_as_s3_does() -> None:
    """`sam deploy` writes the address of S3, here MiniStack's, to the template.

    `sam delete` reads that template, and accepts only addresses of AWS's S3.
    """
    resolve = helpers._resolve_document
    here = f"http://127.0.0.1:{os.environ['GATEWAY_PORT']}/"

    def resolved(*args: Any) -> Any:  # noqa: ANN401 - passed through
        body, error = resolve(*args)
        return body and body.replace(here, "https://s3.amazonaws.com/"), error

    helpers._resolve_document = resolved


def unpack_layers_once() -> None:
    """AWS unpacks a layer before a function starts; MiniStack unpacks it for each process.

    With thousands of files, this takes seconds in each cold start. Here all processes share one
    copy, and the bytecode that the first of them writes.
    """
    spawn = lambda_runtime.Worker._spawn
    unpacking = threading.Lock()

    @functools.cache
    def unpacked(layer_arn: str) -> str:
        folder = tempfile.mkdtemp(prefix="layer-")
        content = lambda_svc._resolve_layer_zip(layer_arn)
        zipfile.ZipFile(io.BytesIO(content)).extractall(folder)
        return folder

    def spawn_with_shared_layers(worker: Any) -> None:  # noqa: ANN401 - an untyped class
        config = worker.config
        with unpacking:
            folders = [unpacked(layer["Arn"]) for layer in config.get("Layers", [])]
        variables = config.get("Environment", {}).get("Variables", {})
        path = {"_LAMBDA_LAYERS_DIRS": os.pathsep.join(folders)}  # MiniStack's name
        worker.config = config | {"Layers": [], "Environment": {"Variables": variables | path}}
        try:
            spawn(worker)
        finally:
            worker.config = config

    lambda_runtime.Worker._spawn = spawn_with_shared_layers


def let_starts_fail_alone() -> None:
    """In AWS, a process that dies at its start fails only its own invocation.

    MiniStack also ends all other processes of the function.
    """
    invoke = lambda_runtime.Worker.invoke

    def alone(worker: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:  # noqa: ANN401 - an untyped class
        try:
            answer: dict[str, Any] = invoke(worker, *args, **kwargs)
        except Exception as error:  # noqa: BLE001 - after any error, MiniStack would end the others
            return {"status": "error", "error": str(error), "log": ""}
        return answer

    lambda_runtime.Worker.invoke = alone


def go_on_after_a_failed_batch() -> None:
    """AWS keeps a failed batch invisible for a while, and continues with the next one.

    MiniStack pauses the queue for a second, so that one failure per second stops it.
    """
    lambda_svc._ESM_BACKOFF_SECONDS = 0.0


def run_schedules_twice_as_often() -> None:
    """AWS runs `rate(1 minute)` once a minute; so does MiniStack, up to 10 seconds late.

    Here it runs every 30 seconds, so that the first poll of a send comes at most 92 seconds after
    it was accepted, because a person waits for it.
    """
    seconds = eventbridge._parse_rate_seconds

    def half(expression: str) -> float | None:
        interval: int | None = seconds(expression)
        return None if interval is None else interval / 2

    eventbridge._parse_rate_seconds = half
    scheduler._SCHEDULE_TICK_INTERVAL = 1


def list_log_groups_while_functions_log() -> None:
    """MiniStack's list of log groups fails if a function creates one during the call."""
    describe = cloudwatch_logs._describe_log_groups

    def describe_again(data: dict[str, Any]) -> object:
        while True:
            try:
                return describe(data)
            except RuntimeError:  # its dictionary has changed
                continue

    cloudwatch_logs._describe_log_groups = describe_again


def reserve_concurrency() -> None:
    """AWS applies ReservedConcurrentExecutions; asynchronous events wait.

    MiniStack ignores it in a template, and drops events above a limit. Here synchronous calls wait,
    too, which AWS would throttle.
    """
    handlers = provisioners._RESOURCE_HANDLERS["AWS::Lambda::Function"]
    create = handlers["create"]
    acquire = lambda_svc._acquire_execution_slot

    def with_reservation(logical_id: str, props: dict[str, Any], stack_name: str) -> Any:  # noqa: ANN401 - passed through
        name, attributes = create(logical_id, props, stack_name)
        if "ReservedConcurrentExecutions" in props:
            reserved = int(props["ReservedConcurrentExecutions"])
            lambda_svc._functions[name]["concurrency"] = reserved
        return name, attributes

    def in_turn(func: dict[str, Any], config: dict[str, Any]) -> tuple[str | None, str | None]:
        def attempt() -> tuple[str | None, str | None] | None:
            slot, limit = acquire(func, config)
            return None if limit == "function" else (slot, limit)

        try:
            return wait_for(attempt, what="its turn", seconds=LONGEST_TURN)
        except TimeoutError:
            return None, "function"

    handlers["create"] = with_reservation
    lambda_svc._acquire_execution_slot = in_turn


def refer_to_secrets_by_arn() -> None:
    """In CloudFormation, `Ref` of a secret returns its ARN, which policies need, not its name."""
    resolve = engine._resolve_refs

    def resolved(value: Any, resources: dict[str, Any], *args: Any) -> Any:  # noqa: ANN401 - passed through
        if isinstance(value, dict) and isinstance(name := value.get("Ref"), str):
            resource = resources.get(name, {})
            if resource.get("ResourceType") == "AWS::SecretsManager::Secret":
                return resource.get("Attributes", {}).get("Arn", name)
        return resolve(value, resources, *args)

    engine._resolve_refs = resolved


def count_requests_as_tls() -> None:
    """AWS's endpoints use TLS, which policies require; MiniStack uses plain HTTP on loopback."""
    resolve = iam_evaluator._resolve_condition_key

    def resolved(key: str, *args: Any) -> Any:  # noqa: ANN401 - passed through
        return "true" if key.lower() == "aws:securetransport" else resolve(key, *args)

    iam_evaluator._resolve_condition_key = resolved


def authorize_batches() -> None:
    """AWS authorizes a batch of SQS as the action of its entries; no IAM action ends in Batch."""
    extract = iam_actions.extract_iam_action

    def of_entries(*args: Any) -> str | None:  # noqa: ANN401 - passed through
        action: str | None = extract(*args)
        return action.removesuffix("Batch") if action in BATCHES else action

    iam_actions.extract_iam_action = of_entries


def know_leading_keys() -> None:
    """AWS compares `dynamodb:LeadingKeys` of a condition with the partition key in a request."""
    context = iam_actions.dynamodb_service_context

    def with_leading_keys(body: bytes) -> dict[str, Any]:
        request: dict[str, Any] = json.loads(body or b"{}")
        key = (request.get("Key") or request.get("Item") or {}).get("pk", {})
        found: dict[str, Any] = context(body)
        return found | ({"dynamodb:LeadingKeys": [key["S"]]} if "S" in key else {})

    iam_actions.dynamodb_service_context = with_leading_keys


def log_denials() -> None:
    """Log each request that policies deny, as AWS's CloudTrail does."""
    enforce = iam_evaluator.enforce

    def logged(key: str, action: str, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - passed through
        denial = enforce(key, action, *args, **kwargs)
        if isinstance(denial, iam_evaluator.EvalResult):
            resource = kwargs.get("resource_arn", "*")
            logging.getLogger("ministack").warning(
                "%s %s on %s for %s", DENIED, action, resource, denial.principal_arn
            )
        return denial

    iam_evaluator.enforce = logged


def refuse_other_sites_pages() -> None:
    """MiniStack's credentials are public, so any web page could run code through it.

    Origin and Sec-Fetch-Site show a page of another site; Host shows a name of another site that
    resolves to this machine (DNS rebinding). MiniStack's own pages never need an Origin.
    """
    answer = app.app

    async def guarded(scope: dict[str, Any], receive: Any, send: Any) -> None:  # noqa: ANN401 - ASGI
        if scope["type"] == "lifespan" or _is_local(scope):
            await answer(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close"})  # a close before the accept is a 403
        else:
            plain = [(b"content-type", b"text/plain")]
            await send({"type": "http.response.start", "status": 403, "headers": plain})
            await send({"type": "http.response.body", "body": NOT_LOCAL})

    app.app = guarded


def _is_local(scope: dict[str, Any]) -> bool:
    headers = dict(scope["headers"])
    is_link_to_docs = (
        scope.get("method") == "GET"
        and DOCS_PATH.fullmatch(scope["path"]) is not None
        and headers.get(b"sec-fetch-site") == b"same-site"
        and headers.get(b"sec-fetch-mode") == b"navigate"
    )
    return (
        headers.get(b"host", b"").partition(b":")[0] in LOCAL_NAMES
        and b"origin" not in headers
        and (is_link_to_docs or headers.get(b"sec-fetch-site", b"none") in OWN_PAGES)
    )


if __name__ == "__main__":
    build_events_as_aws_does()
    import_gateway_responses()
    import_request_models()
    convert_limits()
    refuse_large_requests()
    convert_concurrency()
    convert_variables()
    skip_unsupported_resources()
    address_nested_templates_as_s3_does()
    run_schedules_twice_as_often()
    list_log_groups_while_functions_log()
    reserve_concurrency()
    let_starts_fail_alone()
    go_on_after_a_failed_batch()
    unpack_layers_once()
    refer_to_secrets_by_arn()
    count_requests_as_tls()
    authorize_batches()
    know_leading_keys()
    log_denials()
    refuse_other_sites_pages()
    app.main()
