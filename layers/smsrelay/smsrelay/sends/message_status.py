"""Derives the status of a message from the statuses of its sends. Pure."""

from collections.abc import Collection

from smsrelay.sends.send import ACCEPTED_STATUSES, DELIVERY_STATUSES, Status


def message_status(statuses: Collection[Status]) -> str:
    """Return the sends' common status, or one status for a mixture.

    `unknown` has precedence, because an operator must act. If all sends have a delivery status, a
    mixture is `partially_delivered`; if all are accepted, `accepted`; if all are still to be sent,
    `queued`; else `partial`.
    """
    if Status.UNKNOWN in statuses:
        return Status.UNKNOWN
    distinct = set(statuses)
    if len(distinct) == 1:
        return distinct.pop()
    if distinct <= DELIVERY_STATUSES:
        return Status.PARTIALLY_DELIVERED
    if distinct <= ACCEPTED_STATUSES:
        return Status.ACCEPTED
    if distinct <= {Status.QUEUED, Status.SENDING}:
        return Status.QUEUED
    return "partial"
