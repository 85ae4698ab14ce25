"""`smsrelay stats`: the number and age of unfinished sends, and the sizes of the queues."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from smsrelay_cli.deployed_stack import DeployedStack
from smsrelay_cli.exit_codes import DONE
from smsrelay_cli.terminal import print_json, print_line, print_table, shown_age

if TYPE_CHECKING:
    from mypy_boto3_sqs.literals import QueueAttributeNameType

_GROUPS = {"open": "queued, sending", "unknown": "unknown", "failed": "failed"}
_DEPTHS: Final[Mapping[str, "QueueAttributeNameType"]] = {
    "waiting": "ApproximateNumberOfMessages",
    "delayed": "ApproximateNumberOfMessagesDelayed",
    "inWork": "ApproximateNumberOfMessagesNotVisible",
}


def stats(target: DeployedStack, options: Any, now: float) -> int:
    """Show the number of sends in each group of the sparse index, and the sizes of both queues."""
    groups = {}
    for group in _GROUPS:
        count, first = target.ledger.count_unfinished(group)
        oldest = None if first is None else max(0, int(now - first))
        groups[group] = {"count": count, "oldestSeconds": oldest}
    queues = {
        "queue": depth(target, target.queue_url),
        "deadLetters": depth(target, target.dead_letter_queue_url),
    }
    if options.json:
        print_json({"sends": groups, **queues})
        return DONE
    rows = [
        {
            "sends": statuses,
            "count": groups[group]["count"],
            "oldest": shown_age(groups[group]["oldestSeconds"]),
        }
        for group, statuses in _GROUPS.items()
    ]
    print_table(["sends", "count", "oldest"], rows)
    print_line("")
    names = {"queue": "queue", "deadLetters": "dead letters"}
    depths = [
        {
            "messages": names[name],
            "waiting": d["waiting"],
            "delayed": d["delayed"],
            "in work": d["inWork"],
        }
        for name, d in queues.items()
    ]
    print_table(["messages", "waiting", "delayed", "in work"], depths)
    return DONE


def depth(target: DeployedStack, url: str) -> dict[str, int]:
    """Return the number of waiting, delayed and received messages of a queue."""
    attributes = target.sqs.get_queue_attributes(
        QueueUrl=url,
        AttributeNames=list(_DEPTHS.values()),
    )["Attributes"]
    return {name: int(attributes[attribute]) for name, attribute in _DEPTHS.items()}
