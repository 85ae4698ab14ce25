"""Tests which base URLs the relay may call."""

import pytest

from smsrelay.security.allowed_hosts import AllowedHosts

UPSTREAM = AllowedHosts("*.marketingcloudapis.com")
LOCAL = AllowedHosts(" sms.example.com ,http://127.0.0.1,http://localhost")
GOOD = "https://x.rest.marketingcloudapis.com"


@pytest.mark.parametrize(
    "written",
    [
        GOOD,
        f"{GOOD}/",
        "x.rest.marketingcloudapis.com",
        "x.rest.marketingcloudapis.com/",
        f" {GOOD}/\n",
        f"{GOOD}:443",
        "HTTPS://X.Rest.MarketingCloudApis.com/",
    ],
)
def test_equivalent_urls_have_one_form(written: str) -> None:
    assert UPSTREAM.base_url(written) == GOOD


@pytest.mark.parametrize(
    "written",
    [
        "",
        "https://",
        "/",
        "http://x.rest.marketingcloudapis.com",
        "ftp://x.rest.marketingcloudapis.com",
        "//x.rest.marketingcloudapis.com",
        "https:x.rest.marketingcloudapis.com",
        "https:///x.rest.marketingcloudapis.com",
        "https://https://x.rest.marketingcloudapis.com",
        "https://marketingcloudapis.com",
        "https://evilmarketingcloudapis.com",
        "https://x.marketingcloudapis.com.evil.example",
        "https://x.marketingcloudapis.co",
        "https://evil.example",
        "https://evil.example/x.marketingcloudapis.com",
        "https://evil.example?x.marketingcloudapis.com",
        "https://evil.example#x.marketingcloudapis.com",
        "https://evil.example#@x.marketingcloudapis.com",
        "https://evil.example\\.marketingcloudapis.com",
        "https://evil.example\\@x.marketingcloudapis.com",
        "https://user@x.marketingcloudapis.com",
        "https://user:password@x.marketingcloudapis.com",
        "https://x.marketingcloudapis.com@evil.example",
        "https://x.marketingcloudapis.com:@evil.example",
        "https://x.marketingcloudapis.com:8443",
        "https://x.marketingcloudapis.com:0443",
        "https://x.marketingcloudapis.com:",
        "https://x.marketingcloudapis.com:80",
        "https://x.marketingcloudapis.com:x",
        "https://x.marketingcloudapis.com/path",
        "https://x.marketingcloudapis.com//",
        "https://x.marketingcloudapis.com/..",
        "https://x.marketingcloudapis.com/?q",
        "https://x.marketingcloudapis.com?",
        "https://x.marketingcloudapis.com#",
        "https://x.marketingcloudapis.com.",
        "https://x..marketingcloudapis.com",
        "https://.marketingcloudapis.com",
        "https://*.marketingcloudapis.com",
        "https://-x.marketingcloudapis.com",
        "https://x_y.marketingcloudapis.com",
        "https://x%2e.marketingcloudapis.com",
        "https://x%00.marketingcloudapis.com",
        "https://x\x00.marketingcloudapis.com",
        "https://x .marketingcloudapis.com",
        "https://x\t.marketingcloudapis.com",
        "https://x.marketing\ncloudapis.com",
        "https://x.marketingcloudapis.com\x0b",
        "https://x.mar\N{KELVIN SIGN}etingcloudapis.com",
        "https://x\N{IDEOGRAPHIC FULL STOP}marketingcloudapis.com",
        "https://x.marketingcloudapis\N{FULLWIDTH FULL STOP}com",
        "https://evil.example\N{FULLWIDTH SOLIDUS}.marketingcloudapis.com",
        "https://x.m\N{CYRILLIC SMALL LETTER A}rketingcloudapis.com",
        "https://x.marketingcloudapis.com\N{ZERO WIDTH SPACE}",
        "https://\N{ARABIC-INDIC DIGIT ONE}.marketingcloudapis.com",
        f"https://{'x' * 64}.marketingcloudapis.com",
        f"https://{'x.' * 130}marketingcloudapis.com",
        "https://127.0.0.1",
        "https://2130706433",
        "https://[::1]",
        "https://[::ffff:127.0.0.1]",
        "https://169.254.169.254",
        "https://localhost",
        "http://127.0.0.1:8080",
    ],
)
def test_other_urls_are_refused_and_not_repeated(written: str) -> None:
    with pytest.raises(ValueError, match="base URL") as caught:
        UPSTREAM.base_url(written)
    assert "marketingcloudapis" not in str(caught.value)
    assert "password" not in str(caught.value)


@pytest.mark.parametrize(
    ("written", "url"),
    [
        ("http://127.0.0.1:8080/", "http://127.0.0.1:8080"),
        ("127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("http://localhost", "http://localhost"),
        ("sms.example.com", "https://sms.example.com"),
        ("https://127.0.0.1:8080", None),
        ("http://127.0.0.1.evil.example", None),
        ("http://127.0.0.2:8080", None),
        ("http://127.1:8080", None),
        ("http://sms.example.com", None),
        ("https://a.sms.example.com", None),
        (GOOD, None),
    ],
)
def test_other_hosts_are_those_that_the_deployment_names(written: str, url: str | None) -> None:
    if url is None:
        with pytest.raises(ValueError, match="UpstreamHosts"):
            LOCAL.base_url(written)
    else:
        assert LOCAL.base_url(written) == url


@pytest.mark.parametrize(
    "text",
    [
        "",
        ",",
        "*",
        "*.com",
        "**.example.com",
        "a.*.example.com",
        "https://a.example.com",
        "http://a.example.com",
        "http://*.example.com",
        "a.example.com/",
        "a.example.com:8443",
        "a.example.com b.example.com",
        "a.example.com.",
    ],
)
def test_an_invalid_list_stops_the_start(text: str) -> None:
    with pytest.raises(ValueError, match="UpstreamHosts"):
        AllowedHosts(text)
