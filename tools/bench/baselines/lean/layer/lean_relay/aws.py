"""Calls of AWS's JSON services, signed here (Signature Version 4)."""

import hashlib
import hmac
import os
import time
from typing import Any

import httpx
from pydantic_core import from_json, to_json

VERSIONS = {"dynamodb": "1.0", "sqs": "1.0", "secretsmanager": "1.1"}
TARGETS = {"dynamodb": "DynamoDB_20120810", "sqs": "AmazonSQS", "secretsmanager": "secretsmanager"}
SIGNED = "content-type;host;x-amz-date;x-amz-security-token;x-amz-target"


class AwsError(Exception):
    """A service has answered with an error, or it was no service that answered."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class Aws:
    def __init__(self, http: httpx.Client) -> None:
        self._http = http
        self._region = os.environ["AWS_REGION"]
        self._key_id = os.environ["AWS_ACCESS_KEY_ID"]
        self._key = os.environ["AWS_SECRET_ACCESS_KEY"]
        self._session = os.environ["AWS_SESSION_TOKEN"]
        self._endpoint = os.environ.get("AWS_ENDPOINT_URL")
        self._signing_keys: dict[tuple[str, str], bytes] = {}

    def call(self, service: str, operation: str, request: object) -> dict[str, Any]:
        """The answer of an operation.

        Raises:
            AwsError: it failed, with the service's own code.
            httpx.HTTPError: there is no answer.
        """
        url = self._endpoint or f"https://{service}.{self._region}.amazonaws.com"
        body = to_json(request)
        host = url.partition("://")[2].rstrip("/")
        headers = {
            "content-type": f"application/x-amz-json-{VERSIONS[service]}",
            "host": host,
            "x-amz-date": time.strftime("%Y%m%dT%H%M%SZ", time.gmtime()),
            "x-amz-security-token": self._session,
            "x-amz-target": f"{TARGETS[service]}.{operation}",
        }
        headers["authorization"] = self._authorization(service, headers, body)
        response = self._http.post(url, content=body, headers=headers)
        answer: dict[str, Any] = from_json(response.content)
        if response.status_code != httpx.codes.OK or "x-amzn-requestid" not in response.headers:
            raise AwsError(str(answer.get("__type", "")).rpartition("#")[2])
        return answer

    def _authorization(self, service: str, headers: dict[str, str], body: bytes) -> str:
        canonical = "".join(f"{name}:{value}\n" for name, value in headers.items())
        hashed = hashlib.sha256(body).hexdigest()
        request = f"POST\n/\n\n{canonical}\n{SIGNED}\n{hashed}".encode()
        moment = headers["x-amz-date"]
        scope = f"{moment[:8]}/{self._region}/{service}/aws4_request"
        text = f"AWS4-HMAC-SHA256\n{moment}\n{scope}\n{hashlib.sha256(request).hexdigest()}"
        signature = _hmac(self._signing_key(moment[:8], service), text).hex()
        return (
            f"AWS4-HMAC-SHA256 Credential={self._key_id}/{scope}, "
            f"SignedHeaders={SIGNED}, Signature={signature}"
        )

    def _signing_key(self, day: str, service: str) -> bytes:
        key = self._signing_keys.get((day, service))
        if key is None:
            key = f"AWS4{self._key}".encode()
            for part in (day, self._region, service, "aws4_request"):
                key = _hmac(key, part)
            self._signing_keys[day, service] = key
        return key


def _hmac(key: bytes, text: str) -> bytes:
    return hmac.digest(key, text.encode(), "sha256")
