"""Ids of messages and of requests."""

import pytest

from smsrelay.sends.ids import correlation_id, message_id, new_message_id

ROOT = "1-67891233-abcdef012345678912345678"


def test_ids_follow_from_client_and_key() -> None:
    assert message_id("shop", "k") == message_id("shop", "k")
    assert len({message_id("shop", "k"), message_id("sho", "pk"), message_id("shop", "l")}) == 3
    assert len(message_id("shop", "k")) == len(new_message_id()) == 26
    assert new_message_id() != new_message_id()


@pytest.mark.parametrize(
    "given",
    [
        None,
        "",
        "Root=",
        "+12125550100",
        "Root=1-67891233-12125550100",
        "Root=1-67891233-ABCDEF012345678912345678",
        f"XRoot={ROOT}",
        f"Root={ROOT}Kim",
        f"Self=1;Root={ROOT} ;x",
    ],
)
def test_what_is_no_trace_gets_nowhere(given: str | None) -> None:
    assert correlation_id(given) is None
