"""botocore's data, cut down to the operations that the relay calls.

A client is made of descriptions of its service, of hundreds of operations and of endpoints of
hundreds of services: to read them takes longer than to send. What is left says the same of the
operations in use, in every region. `make lock` writes it from the botocore that is installed then.
"""

import json
import shutil
from collections.abc import Iterator, Mapping
from typing import Any, Final

from botocore.loaders import Loader

from smsrelay.adapters.aws import DATA

OPERATIONS: Final[Mapping[str, tuple[str, ...]]] = {
    "dynamodb": ("BatchGetItem", "PutItem", "Query", "TransactWriteItems", "UpdateItem"),
    "events": ("PutEvents",),
    "lambda": ("Invoke",),
    "secretsmanager": ("GetSecretValue", "PutSecretValue"),
    "sqs": ("ChangeMessageVisibility", "SendMessage", "SendMessageBatch"),
    "ssm": ("GetParameter",),
}
"""What the adapters call; a test looks."""
PAGINATED: Final = "Query"

Json = dict[str, Any]


def files() -> Iterator[tuple[str, Json]]:
    """Paths within the folder, and what they hold."""
    loader = Loader()
    for name in ("_retry", "partitions", "sdk-default-configuration"):
        yield f"{name}.json", loader.load_data(name)
    yield "endpoints.json", _endpoints(loader.load_data("endpoints"))
    for service, operations in OPERATIONS.items():
        folder = f"{service}/{loader.determine_latest_version(service, 'service-2')}"
        model = loader.load_service_model(service, "service-2")
        yield f"{folder}/service-2.json", _model(model, operations)
        rules = loader.load_service_model(service, "endpoint-rule-set-1")
        yield f"{folder}/endpoint-rule-set-1.json", _without_words(rules)
        if PAGINATED in operations:
            pages = loader.load_service_model(service, "paginators-1")
            yield f"{folder}/paginators-1.json", _paginators(pages)


def write() -> None:
    """Write them anew."""
    shutil.rmtree(DATA, ignore_errors=True)
    for name, content in files():
        path = DATA / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text_of(content))


def text_of(content: Json) -> str:
    """As it is stored: short, for it is read at each cold start."""
    return json.dumps(content, separators=(",", ":")) + "\n"


def _endpoints(given: Json) -> Json:
    """All partitions and regions; of the services those in use."""
    partitions = [
        partition
        | {"services": {n: it for n, it in partition["services"].items() if n in OPERATIONS}}
        for partition in given["partitions"]
    ]
    return given | {"partitions": partitions}


def _paginators(given: Json) -> Json:
    return given | {"pagination": {PAGINATED: given["pagination"][PAGINATED]}}


def _model(given: Json, names: tuple[str, ...]) -> Json:
    operations = {name: given["operations"][name] for name in names}
    shapes: Json = {}
    wanted = list(_named(operations))
    while wanted:
        name = wanted.pop()
        if name not in shapes:
            shapes[name] = given["shapes"][name]
            wanted += _named(shapes[name])
    kept = {name: given["shapes"][name] for name in sorted(shapes)}
    without = _without_words(given | {"operations": operations, "shapes": kept})
    return {name: value for name, value in without.items() if name != "examples"}


def _named(part: object) -> Iterator[str]:
    """The shapes that a part of a model names."""
    if isinstance(part, dict):
        for name, value in part.items():
            if name == "shape" and isinstance(value, str):
                yield value
            else:
                yield from _named(value)
    elif isinstance(part, list):
        for value in part:
            yield from _named(value)


def _without_words(part: Any) -> Any:  # noqa: ANN401 - any JSON
    """Without what is for people."""
    if isinstance(part, dict):
        return {
            name: _without_words(value)
            for name, value in part.items()
            if not (name == "documentation" and isinstance(value, str))
        }
    if isinstance(part, list):
        return [_without_words(value) for value in part]
    return part
