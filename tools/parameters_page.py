"""Write docs/parameters.md from template.yaml: `python -m tools.parameters_page`."""

import re
from collections.abc import Iterator
from typing import Any

from samtranslator.yaml_helper import yaml_parse

from tools.local_stack import ROOT

TEMPLATE = ROOT / "template.yaml"
PAGE = ROOT / "docs" / "parameters.md"
INTRODUCTION = """\
# Parameters

This page is for operators who choose the settings of a stack.

`make parameters` writes this page from [template.yaml](../template.yaml). Set a parameter in
`parameter_overrides` of your stage in `samconfig.toml`, such as `"CountryCodes=1,44"`, and run
`make deploy` ([deploy.md](deploy.md)). Every parameter has a default.
"""


def page(template: dict[str, Any]) -> str:
    """Describe the template's parameters, in the groups that the CloudFormation console shows."""
    return "\n".join([INTRODUCTION, *_lines(template)])


def _lines(template: dict[str, Any]) -> Iterator[str]:
    for group in template["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"]:
        yield f"## {group['Label']['default']}"
        yield ""
        yield "| parameter | default | values | |"
        yield "| --- | --- | --- | --- |"
        for name in group["Parameters"]:
            parameter = template["Parameters"][name]
            default = f"`{parameter['Default']}`" if parameter["Default"] != "" else "empty"
            description = _linked(parameter["Description"])
            yield f"| `{name}` | {default} | {_values(parameter)} | {description} |"
        yield ""


def _values(parameter: dict[str, Any]) -> str:
    """Describe the values that CloudFormation accepts."""
    if values := parameter.get("AllowedValues"):
        return ", ".join(f"`{value}`" for value in values)
    if parameter["Type"] != "Number":
        limits = [
            ("MinLength", "not empty"),
            ("MaxLength", f"at most {parameter.get('MaxLength')} characters"),
            ("AllowedPattern", f"matching `{parameter.get('AllowedPattern')}`"),
        ]
        parts = ["text", *(part for name, part in limits if name in parameter)]
        return ", ".join(parts).replace("|", r"\|")
    low, high = parameter["MinValue"], parameter.get("MaxValue")
    return f"from {low}" if high is None else f"{low} to {high}"


def _linked(description: str) -> str:
    """Turn names of pages in docs/ into links, and escape `|`, which would end the cell."""
    return re.sub(r"docs/([a-z-]+\.md)", r"[\1](\1)", description).replace("|", r"\|")


def main() -> None:
    """Write the page."""
    template: dict[str, Any] = yaml_parse(TEMPLATE.read_text())
    PAGE.write_text(page(template))
    print(PAGE.relative_to(ROOT))


if __name__ == "__main__":
    main()
