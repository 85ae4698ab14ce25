"""The software bill of materials (CycloneDX 1.6) of what is shipped; the same for the same locks.

It has neither a time nor a random serial number, so two bills can be compared byte for byte.
"""

import json
import tomllib
from importlib.metadata import Distribution
from typing import Any

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from tools.requirements import ROOT, licences, locks
from tools.requirements.locks import Pin

FILE = ROOT / ".local/sbom.cdx.json"

_APPLICATION = "smsrelay"


class InvalidBillError(Exception):
    """The bill does not follow CycloneDX's schema."""


def bill() -> str:
    """The bill as JSON.

    Raises:
        InvalidBillError: it does not follow CycloneDX's schema.
    """
    pins, environment = locks.shipped(), locks.installed()
    depends = {
        pins[name].purl: sorted(
            {pins[need].purl for need in locks.needs(environment[name]) if need in pins}
        )
        for name in sorted(pins)
    }
    depends[_APPLICATION] = [pins[name].purl for name in locks.direct()]
    document = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": _application()},
        "components": [_component(pins[name], environment[name]) for name in sorted(pins)],
        "dependencies": [{"ref": ref, "dependsOn": on} for ref, on in depends.items()],
    }
    text = json.dumps(document, indent=2) + "\n"
    if error := JsonStrictValidator(SchemaVersion.V1_6).validate_str(text):
        raise InvalidBillError(error)
    return text


def _application() -> dict[str, Any]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return {
        "type": "application",
        "bom-ref": _APPLICATION,
        "name": _APPLICATION,
        "version": project["version"],
        "description": project["description"],
        "licenses": [{"license": {"id": project["license"]}}],
    }


def _component(pin: Pin, distribution: Distribution) -> dict[str, Any]:
    return {
        "type": "library",
        "bom-ref": pin.purl,
        "name": pin.name,
        "version": pin.version,
        "description": distribution.metadata.get("Summary", ""),
        "licenses": [{"expression": licences.licence(distribution), "acknowledgement": "declared"}],
        "purl": pin.purl,
        "externalReferences": [
            {
                "type": "distribution",
                "url": pin.purl,
                "comment": "The files that the lock allows: one for each platform",
                "hashes": [{"alg": "SHA-256", "content": content} for content in pin.hashes],
            }
        ],
    }
