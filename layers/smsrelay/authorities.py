"""The certificate authorities as a folder in which OpenSSL finds the one that it needs.

To read them all takes a tenth of a cold start, and a call needs one or two. OpenSSL looks for an
authority in a file that is named for its subject: `openssl rehash` would make the same folder, but
a build machine need not have it.
"""

import hashlib
import ssl
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

SEQUENCE, SET, UTF8, VERSION = 0x30, 0x31, 0x0C, 0xA0
LONG: Final = 0x80
"""From here on the first byte of a length says how many bytes of it follow."""
TEXTS: Final[Mapping[int, str]] = {
    UTF8: "utf-8",
    0x13: "ascii",  # PrintableString
    0x14: "latin-1",  # T61String, as OpenSSL takes it
    0x16: "ascii",  # IA5String
    0x1A: "ascii",  # VisibleString
    0x1C: "utf-32-be",  # UniversalString
    0x1E: "utf-16-be",  # BMPString
}
_BEGIN, _END = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"


def write(bundle: Path, folder: Path) -> None:
    """Write the certificates of a PEM file into a new folder, a file for each."""
    folder.mkdir()
    before: Counter[str] = Counter()
    for pem in certificates(bundle.read_text(encoding="utf-8")):
        name = subject_hash(ssl.PEM_cert_to_DER_cert(pem))
        # Subjects may have the same hash, or an authority two certificates: it looks at each.
        (folder / f"{name}.{before[name]}").write_text(pem, encoding="ascii")
        before[name] += 1


def certificates(bundle: str) -> Iterator[str]:
    """The certificates in a PEM text, without what stands between them."""
    for part in bundle.split(_BEGIN)[1:]:
        yield f"{_BEGIN}{part.partition(_END)[0]}{_END}\n"


def subject_hash(certificate: bytes) -> str:
    """OpenSSL's hash of a certificate's subject (X509_NAME_hash): what its file is named for."""
    _, signed = next(_parts(certificate))
    fields = [part for part in _parts(next(_parts(signed))[1]) if part[0] != VERSION]
    _serial, _algorithm, _issuer, _validity, (_, subject), *_ = fields
    digest = hashlib.sha1(_canonical(subject), usedforsecurity=False).digest()
    return f"{int.from_bytes(digest[:4], 'little'):08x}"


def _canonical(name: bytes) -> bytes:
    """A name so that two ways to write it are the same: in UTF-8, small letters, single spaces."""
    return b"".join(
        _written(SET, b"".join(sorted(_attribute(content) for _, content in _parts(attributes))))
        for _, attributes in _parts(name)
    )


def _attribute(content: bytes) -> bytes:
    (kind, identifier), (tag, value) = _parts(content)
    if tag in TEXTS:
        text = value.decode(TEXTS[tag]).encode()
        tag, value = UTF8, b" ".join(text.lower().split())
    return _written(SEQUENCE, _written(kind, identifier) + _written(tag, value))


def _parts(content: bytes) -> Iterator[tuple[int, bytes]]:
    """What stands one after another in DER: tags, which have one byte here, and contents."""
    while content:
        tag, length, start = content[0], content[1], 2
        if length & LONG:
            start += length - LONG
            length = int.from_bytes(content[2:start])
        yield tag, content[start : start + length]
        content = content[start + length :]


def _written(tag: int, content: bytes) -> bytes:
    length = len(content)
    if length < LONG:
        return bytes([tag, length]) + content
    size = length.to_bytes((length.bit_length() + 7) // 8)
    return bytes([tag, LONG | len(size)]) + size + content
