"""The licences of what is shipped, and of what is used to make it."""

from importlib.metadata import Distribution

from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression

from tools.requirements import ROOT, locks

FILE = ROOT / "docs/licences.md"

ALLOWED = frozenset(
    ("Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "MIT", "MIT-0", "MPL-2.0", "PSF-2.0")
)
"""What may be shipped. MPL-2.0 asks for the source of changed files only, and none is changed."""

_CLASSIFIERS = {
    "Apache Software License": "Apache-2.0",
    "Artistic License": "Artistic",
    "BSD License": "BSD",
    "GNU General Public License (GPL)": "GPL",
    "GNU General Public License v2 or later (GPLv2+)": "GPL-2.0-or-later",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
}

_IN_ITS_TEXT = {
    "cookiecutter": "BSD-3-Clause",  # its metadata declare none
    "python-dateutil": "Apache-2.0 OR BSD-3-Clause",  # its metadata declare both: "Dual License"
}
"""What the file LICENSE says where the metadata say less."""

_PAGE = """\
# Licences

smsrelay itself: MIT ([LICENSE](../LICENSE)). This page is written by `make licences` from what each
distribution declares; its versions are in the locks. A test compares it with what is installed.

## Shipped, in the layer

Allowed: {allowed}.
MPL-2.0 asks for the source of changed files only, and certifi is shipped as it is. The licence text
of each distribution goes along in its `.dist-info` folder.

| distribution | licence |
| --- | --- |
{shipped}

The layer also contains the lengths of numbers that libphonenumber knows (`calling_codes`,
Apache-2.0), with the licence text in `licences`. The build changes botocore's data
(`build_layer.trim`), and a notice in `licences` says so.

## Used to make and test it, never shipped

A comma: several are declared, and not how they go together. A name that stands twice: `dev.txt` and
`audit.txt` hold different versions.

| licence | distributions |
| --- | --- |
{used}
"""


def licence(distribution: Distribution) -> str:
    """What it declares: an SPDX expression, or what comes nearest to one."""
    if distribution.name in _IN_ITS_TEXT:
        return _IN_ITS_TEXT[distribution.name]
    metadata = distribution.metadata
    for declared in (metadata.get("License-Expression"), metadata.get("License")):
        try:
            return canonicalize_license_expression(declared or "")
        except InvalidLicenseExpression:
            pass
    classifiers = [
        classifier.rpartition(" :: ")[2]
        for classifier in metadata.get_all("Classifier") or ()
        if classifier.startswith("License :: OSI Approved :: ")
    ]
    if classifiers:
        return ", ".join(sorted({_CLASSIFIERS.get(name, name) for name in classifiers}))
    return metadata.get("License") or "not declared"


def shipped() -> dict[str, str]:
    """The licence of each distribution in the layer."""
    environment = locks.installed()
    return {name: licence(environment[name]) for name in sorted(locks.shipped())}


def used() -> dict[str, list[str]]:
    """The distributions that are not shipped, by licence."""
    sources = (
        (locks.DEVELOPMENT, locks.installed()),
        (locks.AUDIT, locks.installed(locks.AUDIT_ENVIRONMENT)),
    )
    found = {
        (licence(environment[name]), name)
        for lock, environment in sources
        for name in locks.pins(lock).keys() - locks.shipped().keys()
    }
    by_licence: dict[str, list[str]] = {}
    for declared, name in sorted(found):
        by_licence.setdefault(declared, []).append(name)
    return by_licence


def page() -> str:
    """docs/licences.md."""
    return _PAGE.format(
        allowed=", ".join(sorted(ALLOWED)),
        shipped="\n".join(f"| {name} | {declared} |" for name, declared in shipped().items()),
        used="\n".join(f"| {it} | {', '.join(names)} |" for it, names in used().items()),
    )
