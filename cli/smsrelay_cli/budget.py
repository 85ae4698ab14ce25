"""`smsrelay budget`: the API calls that polls use, and how many messages they suffice for."""

from typing import Any, Final

from smsrelay.adapters.dynamodb_call_budget import DynamoDbCallBudget
from smsrelay.sends.call_budget import UNLIMITED, DayCalls, daily_share, day_of
from smsrelay.services.delivery_poller import MAX_CALLS
from smsrelay_cli.deployed_stack import DeployedStack
from smsrelay_cli.exit_codes import DONE
from smsrelay_cli.terminal import print_json, print_line

POLLS_OF_A_MESSAGE: Final = 3
"""Usual polls until the delivery of a message is known (docs/capacity.md)."""
MOST_A_DAY: Final = 24 * 60 * MAX_CALLS


def budget(target: DeployedStack, options: Any, now: float) -> int:
    """Show the used and saved API calls, and how many messages a day can be polled."""
    share, today = daily_share(target.yearly_api_calls), day_of(now)
    dynamodb = target.client("dynamodb")
    calls, _ = DynamoDbCallBudget(dynamodb, target.table, share).load(today)
    is_limited = share < UNLIMITED
    polls = min(share, MOST_A_DAY) if target.polls_deliveries else 0
    found = {
        "deliveryPolling": "all" if target.polls_deliveries else "none",
        "yearlyApiCalls": target.yearly_api_calls,
        "dailyShare": share if is_limited else None,
        "usedToday": calls.days.get(today, DayCalls()).used,
        "saved": calls.saved(share, today) if is_limited else None,
        "leftToday": calls.left(share, today) if is_limited else None,
        "messagesADayWithAllPolls": polls // POLLS_OF_A_MESSAGE,
        "messagesADayWithOnePoll": polls,
    }
    if options.json:
        print_json(found)
        return DONE
    width = max(map(len, _LABELS.values()))
    for name, label in _LABELS.items():
        value = found[name]
        shown = "unlimited" if value is None else f"{value:,}" if isinstance(value, int) else value
        print_line(f"{label.ljust(width)}  {shown}")
    return DONE


_LABELS: Final = {
    "deliveryPolling": "DeliveryPolling",
    "yearlyApiCalls": "YearlyApiCalls (0: unlimited)",
    "dailyShare": "polls per day",
    "usedToday": "polls today (UTC)",
    "saved": "saved in the last seven days",
    "leftToday": "left today",
    "messagesADayWithAllPolls": f"messages per day with {POLLS_OF_A_MESSAGE} polls",
    "messagesADayWithOnePoll": "messages per day with 1 poll",
}
