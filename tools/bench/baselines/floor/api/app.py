"""POST /messages with http.client and json only. It validates nothing: what Python itself costs."""

import hashlib
import hmac
import json
import os
import time
from collections.abc import Mapping
from http import HTTPStatus
from http.client import HTTPConnection, HTTPSConnection
from typing import Any
from urllib.parse import urlsplit

TABLE = os.environ["TABLE_NAME"]
REGION = os.environ["AWS_REGION"]
KEY_ID = os.environ["AWS_ACCESS_KEY_ID"]
SESSION = os.environ["AWS_SESSION_TOKEN"]
ENDPOINT = os.environ.get("AWS_ENDPOINT_URL")
SIGNED = "content-type;host;x-amz-date;x-amz-security-token;x-amz-target"
RECIPIENTS_PER_CALL = 250
MARGIN_SECONDS = 60

connections: dict[str, HTTPConnection] = {}
token: dict[str, Any] = {"expires_at": 0}


class UpstreamError(Exception):
    """It did not accept the message."""


class AwsError(Exception):
    """A service has answered with an error."""


def post(base_url: str, path: str, body: str, headers: Mapping[str, str]) -> tuple[int, Any]:
    """Status and JSON, over a kept connection."""
    connection = connections.get(base_url)
    if connection is None:
        parts = urlsplit(base_url)
        kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
        connection = connections[base_url] = kind(parts.netloc, timeout=20)
    connection.request("POST", path, body.encode(), dict(headers))
    response = connection.getresponse()
    return response.status, json.loads(response.read())


def aws(service: str, version: str, target: str, request: object) -> dict[str, Any]:
    """Call an operation, signed with Signature Version 4."""
    base_url = ENDPOINT or f"https://{service}.{REGION}.amazonaws.com"
    body = json.dumps(request)
    moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    headers = {
        "content-type": f"application/x-amz-json-{version}",
        "host": urlsplit(base_url).netloc,
        "x-amz-date": moment,
        "x-amz-security-token": SESSION,
        "x-amz-target": target,
    }
    canonical = "".join(f"{name}:{value}\n" for name, value in headers.items())
    hashed = hashlib.sha256(body.encode()).hexdigest()
    scope = f"{moment[:8]}/{REGION}/{service}/aws4_request"
    canonical = hashlib.sha256(f"POST\n/\n\n{canonical}\n{SIGNED}\n{hashed}".encode()).hexdigest()
    key = f"AWS4{os.environ['AWS_SECRET_ACCESS_KEY']}".encode()
    for part in (*scope.split("/"), f"AWS4-HMAC-SHA256\n{moment}\n{scope}\n{canonical}"):
        key = hmac.digest(key, part.encode(), "sha256")
    headers["authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={KEY_ID}/{scope}, "
        f"SignedHeaders={SIGNED}, Signature={key.hex()}"
    )
    answer: dict[str, Any]
    status, answer = post(base_url, "/", body, headers)
    if status != HTTPStatus.OK:
        raise AwsError(answer["__type"])
    return answer


def put(item: Mapping[str, str], condition: Mapping[str, Any]) -> None:
    typed = {name: {"S": value} for name, value in item.items()}
    request = {"TableName": TABLE, "Item": typed, **condition}
    aws("dynamodb", "1.0", "DynamoDB_20120810.PutItem", request)


def bodies_of(message: Mapping[str, Any]) -> list[dict[str, Any]]:
    names = {"subscribe": "Subscribe", "resubscribe": "Resubscribe", "keyword": "keyword"}
    common = {names[name]: message[name] for name in names if name in message}
    if "text" in message:
        common |= {"Override": True, "messageText": message["text"]}
    numbers, subscribers = [], []
    for entry in message["to"]:
        if isinstance(entry, str):
            numbers.append(_digits(entry))
        else:
            subscriber = {"MobileNumber": _digits(entry["mobile"]), "SubscriberKey": entry["key"]}
            if attributes := entry.get("attributes"):
                subscriber["Attributes"] = {name: _text(attributes[name]) for name in attributes}
            subscribers.append(subscriber)
    return [
        {field: entries[start : start + RECIPIENTS_PER_CALL], **common}
        for field, entries in (("mobileNumbers", numbers), ("Subscribers", subscribers))
        for start in range(0, len(entries), RECIPIENTS_PER_CALL)
    ]


def _digits(written: str) -> str:
    return "".join(filter(str.isdigit, written))


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def send(message_id: str, n: int, template: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """Claim, send, store; one entry of the answer."""
    if token["expires_at"] - MARGIN_SECONDS < time.time():
        request = {"SecretId": os.environ["TOKEN_SECRET_ARN"]}
        answer = aws("secretsmanager", "1.1", "secretsmanager.GetSecretValue", request)
        token.update(json.loads(answer["SecretString"]))
    written = json.dumps(body)
    item = {"pk": f"MSG#{message_id}", "sk": f"SEND#{n:03d}", "template": template}
    put(
        item | {"status": "sending", "body": written},
        {"ConditionExpression": "attribute_not_exists(pk)"},
    )
    status, answer = post(
        token["rest_instance_url"],
        f"/sms/v1/messageContact/{template}/send",
        written,
        {
            "Authorization": f"Bearer {token['access_token']}",
            "Content-Type": "application/json",
        },
    )
    if status != HTTPStatus.ACCEPTED:
        raise UpstreamError(status)
    put(item | {"status": "accepted", "tokenId": answer["tokenId"]}, {})
    recipients = len(body.get("mobileNumbers") or body["Subscribers"])
    return {"n": n, "status": "accepted", "recipients": recipients, "tokenId": answer["tokenId"]}


def handler(event: Mapping[str, Any], _context: object) -> dict[str, Any]:
    message = json.loads(event["body"])
    key = event["headers"].get("Idempotency-Key") or event["requestContext"]["requestId"]
    client = event["requestContext"]["identity"]["apiKeyId"]
    message_id = hashlib.sha256(f"{client}:{key}".encode()).hexdigest()[:26]
    sends = [
        send(message_id, n, message["message"], body)
        for n, body in enumerate(bodies_of(message), 1)
    ]
    return {
        "statusCode": 202,
        "headers": {"Content-Type": "application/json"},
        "body": json.dumps({"id": message_id, "status": "accepted", "sends": sends}),
    }
