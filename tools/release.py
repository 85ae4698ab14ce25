"""Write a release into `dist/`: `python -m tools.release BILL` (docs/release.md).

Every file is the same for the same commit, whenever and in whichever folder it is made.
"""

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from tools.local_stack import ROOT
from tools.local_stack.build import SAM_FOLDER, BuildError, package, sam_build

DIST = ROOT / "dist"
BUILT = SAM_FOLDER / "release/build"
ARCHITECTURE = "arm64"
"""The default of the template. The layer of one processor does not run on another."""
CHECKSUMS = "SHA256SUMS"
LIBRARY = ("pyproject.toml", "LICENSE", "layers/smsrelay/smsrelay")
FILE_MODE = 0o644
WHEEL_DATE = "315532800"
"""1 January 1980, the first that a zip can have: seconds since the epoch."""


def release(target: Path, bill: Path) -> None:
    """Write a release with the bill of materials `bill` into a new folder `target`.

    Raises:
        BuildError: sam or pip failed.
    """
    sam_build(BUILT, ARCHITECTURE)
    template = package(BUILT, target, ".", ".")
    only = {"Default": ARCHITECTURE, "AllowedValues": [ARCHITECTURE]}
    template["Parameters"]["Architecture"] |= only
    (target / "template.json").write_text(json.dumps(template, indent=1) + "\n")
    shutil.copyfile(bill, target / "sbom.cdx.json")
    wheel(target, SAM_FOLDER / "release/library")
    sums = (
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n"
        for path in sorted(target.iterdir())
    )
    (target / CHECKSUMS).write_text("".join(sums))


def wheel(target: Path, copy: Path) -> None:
    """Write the wheel of the client library into `target`, without the network.

    It is made from a new folder `copy`, because setuptools writes beside the package, and because
    the modes of files go into the wheel.

    Raises:
        BuildError: pip failed.
    """
    shutil.rmtree(copy, ignore_errors=True)
    for name in LIBRARY:
        source = ROOT / name
        files = [source] if source.is_file() else source.rglob("*.*")
        for path in (path for path in files if path.is_file() and path.suffix != ".pyc"):
            copied = copy / path.relative_to(ROOT)
            copied.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copied)
            copied.chmod(FILE_MODE)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check"]
    command += ["--no-build-isolation", "--no-deps", "--no-index", "--wheel-dir", str(target), "."]
    ended = subprocess.run(  # noqa: S603 - the command is fixed
        command,
        cwd=copy,
        env=os.environ | {"SOURCE_DATE_EPOCH": WHEEL_DATE},
        umask=0o022,
        check=False,
    )
    if ended.returncode:
        raise BuildError("pip could not make the wheel")


def main() -> int:
    """Run the command, and return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m tools.release", description=__doc__)
    parser.add_argument("bill", type=Path, help="the bill of materials, as `make sbom` writes it")
    options = parser.parse_args()
    try:
        release(DIST, options.bill)
    except BuildError as error:
        print(f"release: {error}", file=sys.stderr)
        return 1
    print(DIST)
    return 0


if __name__ == "__main__":
    sys.exit(main())
