"""The status of a message, from those of its sends. Pure."""

from collections.abc import Collection

from smsrelay.sends.send import ACCEPTED_STATUSES, DELIVERY_STATUSES, Status


def message_status(statuses: Collection[Status]) -> str:
    """What a message's sends are together: their common status, or one word for the mixture.

    `unknown` outranks everything, because an operator must act. A mixture is `partial`, but
    `partially_delivered` if every send has a delivery status.
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
