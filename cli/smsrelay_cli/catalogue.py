"""`smsrelay catalogue …`: manages the names and default values of messages."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from smsrelay.errors import NotJsonError, TooLargeError
from smsrelay.messages.message_catalogue import MAX_CATALOGUE_BYTES, parse_catalogue
from smsrelay.messages.refusals import Refusal, RequestRefusedError
from smsrelay.messages.strict_json import decode
from smsrelay_cli.deployed_stack import DeployedStack
from smsrelay_cli.exit_codes import DONE, FAILED, CommandError
from smsrelay_cli.terminal import (
    confirm,
    counted,
    print_json,
    print_line,
    print_notice,
    print_table,
)

if TYPE_CHECKING:
    from mypy_boto3_ssm import SSMClient

_COLUMNS = [
    "name",
    "id",
    "keyword",
    "quietHours",
    "onUnknown",
    "deliveryPolling",
    "allowedClients",
]


class Checked(NamedTuple):
    """A document, its compact text as it is stored, and its errors."""

    value: Any
    text: str
    refusals: tuple[Refusal, ...]


class Change(NamedTuple):
    """A difference between two catalogues."""

    what: str
    section: str
    name: str


def check(_: object, options: Any, _now: float) -> int:
    """Print every error of a file. This needs neither a relay nor AWS."""
    is_local = options.local or options.stack_file is not None
    return _print_faults(_checked(_text(options.file), is_local), options)


def put(target: DeployedStack, options: Any, _now: float) -> int:
    """Replace the stored catalogue by the one in a file, if that has no errors."""
    ssm, parameter = _store(target)
    new = _checked(_text(options.file), target.is_local)
    if new.refusals:
        return _print_faults(new, options)
    before = _stored(target, ssm, parameter)
    current = before.value if before and isinstance(before.value, dict) else {}
    changes = list(_changes(current, new.value))
    if before and before.refusals:
        print_notice("the stored catalogue is not valid: running functions use the last valid one")
    elif before and current == new.value:
        return _print_result([], options)
    if not options.json:
        _print_changes(changes)
    confirm(
        f"Replace the catalogue in {parameter} by one with {_described(new.value)}?",
        yes=options.yes,
    )
    ssm.put_parameter(
        Name=parameter,
        Value=new.text,
        Type="String",
        Tier="Intelligent-Tiering",  # a value over 4 KB needs the advanced tier
        Overwrite=True,
    )
    return _print_result(changes, options)


def show(target: DeployedStack, options: Any, _now: float) -> int:
    """Print the stored catalogue, or its errors."""
    ssm, parameter = _store(target)
    stored = _stored(target, ssm, parameter)
    if stored is None:
        raise CommandError("no catalogue is stored yet: `catalogue put` stores one")
    if stored.refusals:
        return _print_faults(stored, options)
    if options.json:
        print_json(stored.value)
        return DONE
    print_table(_COLUMNS, [_row(name, entry) for name, entry in _section(stored.value, "messages")])
    callbacks = [
        {"client": name, "callback": entry.get("callback")}
        for name, entry in _section(stored.value, "clients")
    ]
    if callbacks:
        print_line("")
        print_table(["client", "callback"], callbacks)
    return DONE


def _store(target: DeployedStack) -> tuple["SSMClient", str]:
    if not target.catalogue_parameter:
        raise CommandError("this relay has no catalogue: deploy it with Catalogue=on")
    return target.client("ssm"), target.catalogue_parameter


def _stored(target: DeployedStack, ssm: "SSMClient", parameter: str) -> Checked | None:
    try:
        text = ssm.get_parameter(Name=parameter)["Parameter"]["Value"]
    except ssm.exceptions.ParameterNotFound:
        return None
    return _checked(text, target.is_local)


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"{file} can't be read: {type(error).__name__}") from None


def _checked(text: str, loopback_callbacks: bool = False) -> Checked:
    try:
        document = decode(text)
    except NotJsonError as error:
        return Checked(None, text, (Refusal("", "not-json", f"It is not JSON: {error}."),))
    except TooLargeError:
        return Checked(None, text, (_too_large(len(text.encode())),))
    refusals: tuple[Refusal, ...] = ()
    try:
        parse_catalogue(document, loopback_callbacks=loopback_callbacks)
    except RequestRefusedError as refused:
        refusals = refused.refusals
    if refusals:
        return Checked(document.value, text, refusals)
    # `decode` makes a Decimal of 2.0; all Decimals of a valid catalogue are whole numbers.
    compact = json.dumps(document.value, ensure_ascii=False, separators=(",", ":"), default=int)
    size = len(compact.encode())
    if size > MAX_CATALOGUE_BYTES:
        refusals = (_too_large(size),)
    return Checked(json.loads(compact), compact, refusals)


def _too_large(size: int) -> Refusal:
    detail = f"It has {size} bytes; at most {MAX_CATALOGUE_BYTES} are allowed, without white space."
    return Refusal("", "too-large", detail)


def _changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Change]:
    for section in ("messages", "clients"):
        old, new = dict(_section(before, section)), dict(_section(after, section))
        for name in sorted(old.keys() | new.keys()):
            if name not in old:
                yield Change("added", section, name)
            elif name not in new:
                yield Change("removed", section, name)
            elif old[name] != new[name]:
                yield Change("changed", section, name)


def _section(document: Mapping[str, Any], section: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the entries of a section; an entry that is only an id becomes an object."""
    entries = document.get(section)
    for name, entry in entries.items() if isinstance(entries, dict) else ():
        yield name, entry if isinstance(entry, dict) else {"id": entry}


def _row(name: str, entry: Mapping[str, Any]) -> dict[str, object]:
    window = entry.get("quietHours")
    cells = {
        "quietHours": window
        and f"{window['start']}-{window['end']} {window.get('timezone', window.get('utcOffset'))}",
        "allowedClients": " ".join(entry.get("allowedClients", [])),
    }
    return {"name": name} | dict(entry) | cells


def _described(document: Mapping[str, Any]) -> str:
    parts = [counted(len(document.get("messages", {})), "message")]
    if clients := document.get("clients"):
        parts.append(counted(len(clients), "client"))
    return " and ".join(parts)


def _print_faults(checked: Checked, options: Any) -> int:
    """Print every error with its pointer; for a valid catalogue, a summary."""
    faults = [
        {"pointer": refusal.pointer, "detail": refusal.detail} for refusal in checked.refusals
    ]
    if options.json:
        print_json(faults)
    elif faults:
        for fault in faults:
            print_line(f"{fault['pointer'] or '(the whole document)'}: {fault['detail']}")
    else:
        print_line(f"{_described(checked.value)}, {len(checked.text.encode())} bytes: no errors")
    return FAILED if faults else DONE


def _print_result(changes: list[Change], options: Any) -> int:
    if options.json:
        print_json([change._asdict() for change in changes])
    elif changes:
        print_line("stored; every function uses it within a minute")
    else:
        print_line("no changes: this catalogue is stored already")
    return DONE


def _print_changes(changes: list[Change]) -> None:
    for change in changes:
        print_line(f"{change.what:<8} {change.section}: {change.name}")
