"""The commands `python -m tools.requirements licences|sbom|calling-codes`."""

import argparse

from tools.requirements import ROOT, licences, numbering_plan, sbom


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.requirements", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("licences", help="write docs/licences.md")
    commands.add_parser("sbom", help="write the software bill of materials of what is shipped")
    commands.add_parser("calling-codes", help="write the lengths of the world's numbers")
    command = parser.parse_args().command
    if command == "licences":
        file, text = licences.FILE, licences.page()
    elif command == "calling-codes":
        file, text = numbering_plan.FILE, numbering_plan.text()
    else:
        file, text = sbom.FILE, sbom.bill()
    file.parent.mkdir(exist_ok=True)
    file.write_text(text)
    print(file.relative_to(ROOT))


if __name__ == "__main__":
    main()
