"""The folder of certificate authorities: what is found in it, and what is refused all the same."""

import contextlib
import datetime as dt
import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import certifi
import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509 import name as forms

import authorities
from smsrelay.adapters import keepalive

CN = x509.NameOID.COMMON_NAME
PEM = serialization.Encoding.PEM
OPENSSL = shutil.which("openssl") or ""
needs_openssl = pytest.mark.skipif(not OPENSSL, reason="openssl is not installed")


def named(
    text: str, kind: forms._ASN1Type | None = None, oid: x509.ObjectIdentifier | None = None
) -> x509.NameAttribute[str]:
    return x509.NameAttribute(oid or x509.NameOID.ORGANIZATION_NAME, text, _type=kind)


class Authority:
    """One that signs a certificate for localhost."""

    def __init__(self, *names: x509.RelativeDistinguishedName) -> None:
        self.name = x509.Name(names)
        self._key = ec.generate_private_key(ec.SECP256R1())
        usage = x509.KeyUsage(
            digital_signature=False,
            content_commitment=False,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            key_cert_sign=True,
            crl_sign=True,
            encipher_only=False,
            decipher_only=False,
        )
        self.certificate = self._signed(
            self.name,
            self._key.public_key(),
            (x509.BasicConstraints(ca=True, path_length=None), True),
            (usage, True),
            (x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), False),
        )

    @property
    def pem(self) -> str:
        return self.certificate.public_bytes(PEM).decode()

    def server(self, folder: Path) -> ssl.SSLContext:
        """What a server of this authority's shows."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
        ours = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        host = x509.SubjectAlternativeName([x509.DNSName("localhost")])
        signed = self._signed(name, key.public_key(), (ours, False), (host, False))
        path = folder / f"{x509.random_serial_number()}.pem"
        private = key.private_bytes(
            PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        path.write_bytes(private + signed.public_bytes(PEM))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        return context

    def _signed(
        self,
        name: x509.Name,
        key: ec.EllipticCurvePublicKey,
        *extensions: tuple[x509.ExtensionType, bool],
    ) -> x509.Certificate:
        now = dt.datetime.now(dt.UTC)
        builder = x509.CertificateBuilder(self.name, name, key, x509.random_serial_number())
        builder = builder.not_valid_before(now - dt.timedelta(days=1))
        builder = builder.not_valid_after(now + dt.timedelta(days=1))
        for extension, is_critical in extensions:
            builder = builder.add_extension(extension, critical=is_critical)
        return builder.sign(self._key, hashes.SHA256())


def authority(text: str) -> Authority:
    return Authority(x509.RelativeDistinguishedName([named(text)]))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where the layer's authorities lie."""
    monkeypatch.setattr(keepalive, "AUTHORITIES", tmp_path / "authorities")
    keepalive.trusted.cache_clear()
    yield tmp_path / "authorities"
    keepalive.trusted.cache_clear()


def shake_hands(server: ssl.SSLContext, name: str = "localhost") -> None:
    """A real handshake over loopback with a server that is asked for by a name."""
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        ThreadPoolExecutor(1) as pool,
    ):
        listener.settimeout(10.0)
        pool.submit(_serve, listener, server)
        with (
            socket.create_connection(listener.getsockname(), timeout=10.0) as connection,
            keepalive.trusted().wrap_socket(connection, server_hostname=name) as secured,
        ):
            assert secured.version()


def _serve(listener: socket.socket, context: ssl.SSLContext) -> None:
    connection, _ = listener.accept()
    with (
        contextlib.suppress(OSError),
        connection,
        context.wrap_socket(connection, server_side=True) as secured,
    ):
        secured.recv(1)


def test_an_authority_of_the_folder_is_found_and_another_one_is_refused(
    folder: Path, tmp_path: Path
) -> None:
    known, unknown = authority("Known  Authority"), authority("Unknown Authority")
    bundle = tmp_path / "bundle.pem"
    bundle.write_text(f"# Its name\n{known.pem}\n{authority('Another Authority').pem}")
    authorities.write(bundle, folder)
    shake_hands(known.server(tmp_path))
    with pytest.raises(ssl.SSLCertVerificationError, match="unable to get local issuer"):
        shake_hands(unknown.server(tmp_path))


def test_two_of_one_name_are_both_looked_at(folder: Path, tmp_path: Path) -> None:
    old, new, false = authority("Authority"), authority("Authority"), authority("Authority")
    bundle = tmp_path / "bundle.pem"
    bundle.write_text(old.pem + new.pem)
    authorities.write(bundle, folder)
    assert len({path.stem for path in folder.iterdir()}) == 1
    shake_hands(old.server(tmp_path))
    shake_hands(new.server(tmp_path))
    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(false.server(tmp_path))


def test_whoever_shows_anothers_certificate_is_refused(folder: Path, tmp_path: Path) -> None:
    known = authority("Authority")
    bundle = tmp_path / "bundle.pem"
    bundle.write_text(known.pem)
    authorities.write(bundle, folder)
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        shake_hands(known.server(tmp_path), "elsewhere.example")


def test_nothing_but_the_authorities_differs_from_what_httpx_makes(folder: Path) -> None:
    theirs = httpx.create_ssl_context(trust_env=False)
    authorities.write(Path(certifi.where()), folder)
    ours = keepalive.trusted()
    assert not ours.get_ca_certs(), "all of them were read"
    for name in (
        "protocol",
        "verify_mode",
        "verify_flags",
        "check_hostname",
        "minimum_version",
        "maximum_version",
        "options",
        "security_level",
    ):
        assert getattr(ours, name) == getattr(theirs, name), name
    assert ours.get_ciphers() == theirs.get_ciphers()


def test_without_the_folder_they_are_those_of_certifi(folder: Path) -> None:
    assert not folder.exists()
    theirs = httpx.create_ssl_context(trust_env=False)
    assert keepalive.trusted().get_ca_certs() == theirs.get_ca_certs()


@needs_openssl
@pytest.mark.parametrize(
    "names",
    [
        [[named("Plain")]],
        [[named("  Many \t spaces,   CAPITALS  ")]],
        [[named("Häßliche Ümläute ÄÖÜ", forms._ASN1Type.UTF8String)]],  # noqa: SLF001 - cryptography has no other name for them
        [[named("WIDE Ünïcode  ✓", forms._ASN1Type.BMPString)]],  # noqa: SLF001 - same
        [[named("Printable  Text", forms._ASN1Type.PrintableString)]],  # noqa: SLF001 - same
        [[named("Mail@Example.COM", forms._ASN1Type.IA5String)]],  # noqa: SLF001 - same
        [[named("One")], [named("Two")], [named("One")]],
        [[named("Two"), named("at once", oid=CN)], [named("Three")]],
        [[named("b"), named("A", oid=x509.NameOID.LOCALITY_NAME), named("C", oid=CN)]],
        [[named("x" * 50), named("y" * 60, oid=CN)], [named("z" * 60)]],
        [],
    ],
    ids=str,
)  # fmt: skip
def test_a_file_is_called_what_openssl_calls_it(
    names: list[list[x509.NameAttribute[str]]], tmp_path: Path
) -> None:
    subject = Authority(*map(x509.RelativeDistinguishedName, names))
    path = tmp_path / "authority.pem"
    path.write_text(subject.pem)
    found = authorities.subject_hash(subject.certificate.public_bytes(serialization.Encoding.DER))
    assert found == openssl_hash(path)


@needs_openssl
def test_all_of_certifis_are_called_what_openssl_calls_them(folder: Path) -> None:
    authorities.write(Path(certifi.where()), folder)
    for path in folder.iterdir():
        assert path.stem == openssl_hash(path)


def openssl_hash(path: Path) -> str:
    command = [OPENSSL, "x509", "-hash", "-noout", "-in", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603 - a path of our own
    return done.stdout.strip()
