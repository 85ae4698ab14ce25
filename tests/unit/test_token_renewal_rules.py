"""Tests when a token is renewed, the token request, and how its responses are read."""

import json
from typing import Any

import pytest

from smsrelay.errors import CredentialsUnusableError
from smsrelay.security.allowed_hosts import AllowedHosts
from smsrelay.services.token_renewer import RenewalRequest, parse_renewal_request
from smsrelay.tokens.renewal_timing import (
    RenewalReason,
    StoredToken,
    fingerprint,
    may_replace_refused,
    refresh_ahead,
    renewal_reason,
)
from smsrelay.tokens.token_response import (
    AccessToken,
    ClientCredentials,
    TokenError,
    parse_credentials,
    parse_token_response,
)

NOW = 1_790_000_000.0
HOSTS = AllowedHosts("*.marketingcloudapis.com")
AUTH, REST = "https://x.auth.marketingcloudapis.com", "https://x.rest.marketingcloudapis.com"
CLIENT_ID, SECRET = "k3v9x1q7z5w8j2m6p4t0r7yh", "Zx7Qk2Wp9Lm4Vb8Nc3Rt6Yh1"
CREDENTIALS = ClientCredentials(CLIENT_ID, SECRET, AUTH)


def token(life: float | None, age: float) -> StoredToken:
    since = NOW - age
    return StoredToken("t", None if life is None else since + life, since)


@pytest.mark.parametrize(
    ("life", "age", "refused", "need"),
    [
        (1080, 0, False, None),
        (1080, 899, False, None),
        (1080, 900, False, RenewalReason.EXPIRING),
        (1080, 901, False, RenewalReason.EXPIRING),
        (1080, 1080, False, RenewalReason.EXPIRING),
        (1080, 5000, False, RenewalReason.EXPIRING),
        (1080, 5000, True, RenewalReason.EXPIRING),
        (1080, 0, True, RenewalReason.REFUSED),
        (1080, 899, True, RenewalReason.REFUSED),
        (1200, 1019, False, None),
        (1200, 1020, False, RenewalReason.EXPIRING),
        (86_400, 86_219, False, None),
        (86_400, 86_220, False, RenewalReason.EXPIRING),
        (60, 0, False, None),
        (60, 39, False, None),
        (60, 40, False, RenewalReason.EXPIRING),
        (0, 0, False, RenewalReason.EXPIRING),
        (-5, 0, False, RenewalReason.EXPIRING),
        (None, 0, False, RenewalReason.UNDATED),
        (None, 0, True, RenewalReason.UNDATED),
    ],
)
def test_when_a_token_is_renewed(
    life: float | None, age: float, refused: bool, need: RenewalReason | None
) -> None:
    assert renewal_reason(token(life, age), NOW, refused=refused) is need


def test_no_token_is_the_first_reason() -> None:
    assert renewal_reason(None, NOW, refused=False) is RenewalReason.MISSING


def test_a_run_every_minute_leaves_no_gap_and_fetches_once_in_fifteen() -> None:
    """The lifetime that the upstream reports is used without a deduction."""
    fetches, expires_at, since = 0, 0.0, 0.0
    for now in range(0, 24 * 3600, 60):
        if renewal_reason(StoredToken("t", expires_at, since), now, refused=False):
            answer = json.dumps({"access_token": "t", "expires_in": 1080}).encode()
            grant = parse_token_response(
                200, answer, asked_at=now, credentials=CREDENTIALS, hosts=HOSTS
            )
            assert isinstance(grant, AccessToken)
            fetches, expires_at, since = fetches + 1, grant.expires_at, now
        assert expires_at - now >= 60 + refresh_ahead(StoredToken("t", expires_at, since))
    assert fetches == 24 * 4
    assert fetches < 100, "Secrets Manager keeps 100 versions of a secret for a day"


@pytest.mark.parametrize(
    ("life", "before", "may"),
    [
        (1080, None, True),
        (1080, 1200, True),
        (1080, 1199, False),
        (1080, 0, False),
        (60, 120, True),
        (60, 119, False),
        (None, 1200, True),
        (None, 1199, False),
    ],
)
def test_refusals_do_not_renew_a_new_token_at_once(
    life: float | None, before: float | None, may: bool
) -> None:
    predecessor = None if before is None else token(1080, before)
    assert may_replace_refused(token(life, 0), predecessor, NOW) is may


@pytest.mark.parametrize(("life", "seconds"), [(1080, 60), (240, 60), (60, 15), (8, 2), (None, 60)])
def test_senders_refresh_a_token_shortly_before_its_end(life: float | None, seconds: float) -> None:
    assert refresh_ahead(token(life, 0)) == seconds


def test_a_fingerprint_identifies_a_token() -> None:
    assert fingerprint("a-token") == fingerprint("a-token") != fingerprint("b-token")
    assert len(fingerprint("a" * 512)) == 16


@pytest.mark.parametrize(
    ("event", "ask"),
    [
        ({}, None),
        ({"version": "0", "source": "aws.scheduler", "detail": "{}"}, None),
        ({"need": "refused", "token": "ab12"}, RenewalRequest("refused", "ab12")),
        ({"need": "missing"}, RenewalRequest("missing", "None")),
        ({"need": None}, RenewalRequest("None", "None")),
    ],
)
def test_renewal_requests_are_parsed(event: dict[str, Any], ask: RenewalRequest | None) -> None:
    assert parse_renewal_request(event) == ask


def stored(**fields: object) -> str:
    return json.dumps(
        {"client_id": CLIENT_ID, "client_secret": SECRET, "auth_base_url": AUTH} | fields
    )


BASIC = {
    "grant_type": "client_credentials",
    "client_id": CLIENT_ID,
    "client_secret": SECRET,
}


@pytest.mark.parametrize(
    ("fields", "request_body"),
    [
        ({}, BASIC),
        ({"account_id": None, "scope": None}, BASIC),
        ({"account_id": "", "scope": ""}, BASIC),
        ({"account_id": " ", "scope": " "}, BASIC),
        ({"account_id": True, "scope": []}, BASIC),
        ({"account_id": 7320001}, BASIC | {"account_id": "7320001"}),
        ({"account_id": "7320001"}, BASIC | {"account_id": "7320001"}),
        ({"scope": "sms_send sms_read"}, BASIC | {"scope": "sms_send sms_read"}),
        ({"note": "rotated in May"}, BASIC),
    ],
)
def test_the_token_request(fields: dict[str, object], request_body: dict[str, str]) -> None:
    credentials = parse_credentials(stored(**fields), HOSTS)
    assert credentials.request() == request_body
    assert credentials.auth_base_url == AUTH


@pytest.mark.parametrize(
    ("secret", "says"),
    [
        ("", "client_id"),
        ("{", "client_id"),
        ("[]", "client_id"),
        ('"the-client-secret"', "client_id"),
        (stored(client_id=""), "client_id"),
        (stored(client_id=7), "client_id"),
        (stored(client_secret=None), "client_secret"),
        (stored(client_secret=" "), "client_secret"),
        (stored(auth_base_url=""), "auth_base_url"),
        (stored(auth_base_url=f"{AUTH}/v2/token"), "not a base URL"),
        (stored(auth_base_url="https://evil.example"), "UpstreamHosts"),
        (stored(auth_base_url="http://x.auth.marketingcloudapis.com"), "UpstreamHosts"),
    ],
)
def test_unusable_credentials_are_refused(secret: str, says: str) -> None:
    with pytest.raises(CredentialsUnusableError, match=says) as caught:
        parse_credentials(secret, HOSTS)
    assert SECRET not in str(caught.value)


def test_credentials_do_not_show_in_a_traceback() -> None:
    assert SECRET not in repr(CREDENTIALS)
    assert CLIENT_ID not in repr(CREDENTIALS)


def answered(status: int, body: bytes) -> AccessToken | TokenError:
    return parse_token_response(status, body, asked_at=NOW, credentials=CREDENTIALS, hosts=HOSTS)


def good(**fields: object) -> bytes:
    return json.dumps(
        {
            "access_token": "t" * 512,
            "token_type": "Bearer",
            "expires_in": 1079,
            "scope": "sms_read sms_send",
            "rest_instance_url": f"{REST}/",
            "soap_instance_url": "https://x.soap.marketingcloudapis.com/",
        }
        | fields
    ).encode()


GRANT = AccessToken("t" * 512, NOW + 1079, REST, "sms_read sms_send")


@pytest.mark.parametrize(
    ("fields", "grant"),
    [
        ({}, GRANT),
        ({"rest_instance_url": "x.rest.marketingcloudapis.com"}, GRANT),
        ({"rest_instance_url": None}, GRANT._replace(rest_instance_url="")),
        ({"scope": None}, GRANT._replace(scope="")),
        ({"expires_in": "1079"}, GRANT),
        ({"expires_in": 0.5}, GRANT._replace(expires_at=NOW + 0.5)),
        ({"expires_in": 10**12}, GRANT._replace(expires_at=NOW + 86_400)),
        ({"new_field": {}}, GRANT),
    ],
)
def test_a_token_in_the_answer(fields: dict[str, object], grant: AccessToken) -> None:
    assert answered(200, good(**fields)) == grant
    assert answered(201, good(**fields)) == grant


def test_without_an_expiry_the_documented_one_is_used() -> None:
    assert answered(200, b'{"access_token": "t"}') == AccessToken("t", NOW + 1080, "", "")


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "no-token-in-answer"),
        (b"{}", "no-token-in-answer"),
        (b"[]", "no-token-in-answer"),
        (b"null", "no-token-in-answer"),
        (b"<html>Welcome</html>", "no-token-in-answer"),
        (b"\xff\xfe\x00", "no-token-in-answer"),
        (b"[" * 100_000, "no-token-in-answer"),
        (good()[:-20], "no-token-in-answer"),
        (good(access_token=""), "no-token-in-answer"),
        (good(access_token=7), "no-token-in-answer"),
        (good(access_token="a\r\nX-Evil: 1"), "no-token-in-answer"),
        (good(access_token="t" * 5_000), "no-token-in-answer"),
        (good(expires_in=0), "absurd-expiry"),
        (good(expires_in=-1), "absurd-expiry"),
        (good(expires_in=None), "absurd-expiry"),
        (good(expires_in=True), "absurd-expiry"),
        (good(expires_in="soon"), "absurd-expiry"),
        (good(expires_in=[1080]), "absurd-expiry"),
        (good(expires_in=float("nan")), "absurd-expiry"),
        (good(expires_in=float("inf")), "absurd-expiry"),
        (good(expires_in=10**400), "absurd-expiry"),
        (good(rest_instance_url="https://evil.example"), "rest-url-not-allowed"),
        (good(rest_instance_url="http://169.254.169.254"), "rest-url-not-allowed"),
        (good(rest_instance_url=["x"]), "rest-url-not-allowed"),
    ],
)
def test_a_response_200_without_a_usable_token(body: bytes, reason: str) -> None:
    """The error repeats nothing of such a body, because it may contain a token."""
    for status in (200, 204):
        assert answered(status, body) == TokenError(reason, status)


def oauth(error: str, description: str) -> bytes:
    return json.dumps({"error": error, "error_description": description, "error_uri": "u"}).encode()


def platform(message: str) -> bytes:
    return json.dumps({"documentation": "d", "errorcode": 0, "message": message}).encode()


@pytest.mark.parametrize(
    ("status", "body", "reason", "errors"),
    [
        (
            401,
            oauth("invalid_client", "Invalid client ID. Use the client ID in Marketing Cloud."),
            "credentials-refused",
            ("invalid_client: Invalid client ID. Use the client ID in Marketing Cloud.",),
        ),
        (
            401,
            oauth("invalid_client", f"{CLIENT_ID} with {SECRET}"),
            "credentials-refused",
            ("invalid_client: … with …",),
        ),
        (
            400,
            oauth("invalid_scope", "no such scope"),
            "request-refused",
            ("invalid_scope: no such scope",),
        ),
        (400, b'{"errors": ["wrong"]}', "request-refused", ("wrong",)),
        (403, platform("Insufficient Privileges"), "request-refused", ("Insufficient Privileges",)),
        (404, b"", "request-refused", ()),
        (429, platform("Rate limit exceeded"), "throttled", ("Rate limit exceeded",)),
        (500, platform("Internal Server Error"), "server-error", ("Internal Server Error",)),
        (502, b"<html>Bad Gateway</html>", "server-error", ()),
        (503, b"", "server-error", ()),
        (302, b"", "unexpected-status", ()),
        (304, good(), "unexpected-status", ()),
        (401, b"{", "credentials-refused", ()),
        (400, b'{"error": "invalid_client"}', "credentials-refused", ("invalid_client",)),
        (401, platform("call +1 212 555 0100"), "credentials-refused", ("call …",)),
        (401, platform("x" * 9_000), "credentials-refused", ("x" * 500,)),
    ],
)
def test_refusals_of_the_token_endpoint(
    status: int, body: bytes, reason: str, errors: tuple[str, ...]
) -> None:
    assert answered(status, body) == TokenError(reason, status, errors)
