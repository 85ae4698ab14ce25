"""Tests which certificate authorities HTTPS calls trust."""

import ssl
from collections.abc import Iterator
from pathlib import Path

import certifi
import pytest

from smsrelay.adapters.trust_store import trusted


@pytest.fixture(autouse=True)
def read_again() -> Iterator[None]:
    trusted.cache_clear()
    yield
    trusted.cache_clear()


def test_only_certifis_authorities_are_trusted_in_every_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    other = tmp_path / "authorities.pem"
    other.write_text("")
    monkeypatch.setenv("SSL_CERT_FILE", str(other))
    certifis = ssl.create_default_context(cafile=certifi.where())
    assert trusted().get_ca_certs() == certifis.get_ca_certs()
    assert trusted().verify_mode is ssl.CERT_REQUIRED
    assert trusted().check_hostname


def test_the_authorities_are_read_once() -> None:
    assert trusted() is trusted()
