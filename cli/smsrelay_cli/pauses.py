"""`smsrelay pause` and `resume`: stop the sends of one client, or of all clients, for a while."""

from collections.abc import Callable, Sequence
from typing import Any, Final

from smsrelay.adapters.dynamodb_operator_pauses import CACHE_SECONDS, DynamoDbOperatorPauses
from smsrelay.messages.client_names import RULE, is_client_name
from smsrelay.sends.operator_pause import RETURN_SECONDS, OperatorPause, active, begin, end
from smsrelay_cli.deployed_stack import DeployedStack
from smsrelay_cli.exit_codes import DONE, CommandError, UsageError
from smsrelay_cli.terminal import DAY, print_json, print_line, print_notice, shown_time

RECEIVES: Final = 1_000
"""After so many receives, SQS moves a message to the dead-letter queue."""
WAITING_DAYS: Final = int(RECEIVES * RETURN_SECONDS / DAY)
MAX_WRITES: Final = 5

type _Pauses = Sequence[OperatorPause]


def pause(target: DeployedStack, options: Any, now: float) -> int:
    """Pause the sends of one client, or of all clients. An active pause is not changed."""
    client = _client(options)

    def change(pauses: _Pauses) -> _Pauses:
        goes_on = client in {it.client for it in active(pauses)}
        return pauses if goes_on else begin(pauses, client, options.note or "", now)

    [found] = [it for it in active(_change(target, change)) if it.client == client]
    if options.note and options.note != found.note:
        print_notice("The sends were paused before, so the note was not changed.")
    since, until = shown_time(found.began), shown_time(found.began + WAITING_DAYS * DAY)
    if options.json:
        shown = {"client": client or None, "since": since, "note": found.note or None}
        print_json(shown | {"resumeBefore": until})
        return DONE
    print_line(f"The sends of {_name(client)} are paused since {since}.")
    if found.note:
        print_line(f"Note: {found.note}")
    print_line(
        f"Resume before {until}. After that, SQS moves waiting messages to the dead-letter queue."
    )
    print_notice(
        f"Functions stop sending within {CACHE_SECONDS:.0f} seconds; calls that they have "
        f"started continue. `{_resume(client)}` ends the pause."
    )
    return DONE


def resume(target: DeployedStack, options: Any, now: float) -> int:
    """End the pause of one client, or the pause of all clients; other pauses continue."""
    client = _client(options)

    def change(pauses: _Pauses) -> _Pauses:
        if client not in {it.client for it in active(pauses)}:
            found = [f"the sends of {_name(client)} are not paused.", *_that_go_on(pauses)]
            raise CommandError(" ".join(found))
        return end(pauses, client, now)

    others = active(_change(target, change))
    if options.json:
        goes_on = [it.client or None for it in others]
        print_json({"client": client or None, "resumedAt": shown_time(now), "stillPaused": goes_on})
        return DONE
    print_line(f"The pause of {_name(client)} has ended.")
    print_notice(f"Waiting sends are attempted within {RETURN_SECONDS / 60:.0f} minutes.")
    for line in _that_go_on(others):
        print_notice(line)
    return DONE


def _change(target: DeployedStack, change: Callable[[_Pauses], _Pauses]) -> _Pauses:
    """Change the stored pauses with `change`, and return the new ones."""
    stored = DynamoDbOperatorPauses(target.client("dynamodb"), target.table)
    for _ in range(MAX_WRITES):
        pauses, version = stored.load()
        changed = change(pauses)
        if changed is pauses or stored.replace(changed, version):
            return changed
    raise CommandError("other operators changed the pauses at the same time: run the command again")


def _client(options: Any) -> str:
    if options.client is None:
        return ""
    if not is_client_name(options.client):
        raise UsageError(f"a client's name is {RULE}")
    return str(options.client)


def _that_go_on(pauses: _Pauses) -> list[str]:
    return [
        f"Still paused since {shown_time(it.began)}: {_name(it.client)} (`{_resume(it.client)}`)."
        for it in active(pauses)
    ]


def _resume(client: str) -> str:
    return f"smsrelay resume --client {client}" if client else "smsrelay resume"


def _name(client: str) -> str:
    return client or "all clients"
