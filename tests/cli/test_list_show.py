"""Tests the commands that only read: list, show, find, token and stats."""

import time
from typing import Any

import pytest

from smsrelay.sends.send import Status
from tests.cli.conftest import MESSAGE, Operator
from tests.support.environment import CLIENT, Environment
from tests.support.golden import READABLE, UNREADABLE, put, put_unreadable_in


def change(relay: Environment, message_id: str, **numbers: float) -> None:
    """Change the times of a message's sends."""
    for name, value in numbers.items():
        relay.client("dynamodb").update_item(
            TableName=relay.table,
            Key={"pk": {"S": f"MSG#{message_id}"}, "sk": {"S": "SEND#001"}},
            UpdateExpression=f"SET {name} = :value",
            ExpressionAttributeValues={":value": {"N": f"{value:.3f}"}},
        )


def test_each_status_is_listed_separately(operator: Operator, relay: Environment) -> None:
    ids = {
        "failed": operator.failed(),
        "unknown": operator.unknown(),
        "queued": operator.post("429-50100"),
        "sending": relay.post(MESSAGE, headers={"Prefer": "respond-async"}).body["id"],
    }
    operator.post()
    [queued] = operator.sends(ids["sending"])
    operator.ledger.claim(queued.key, written_by="o", now=time.time(), lease_until=time.time() + 60)
    for status, message_id in ids.items():
        [listed] = operator.run("list", "--status", status, "--json").json["sends"]
        assert (listed["id"], listed["status"]) == (message_id, status)
    reasons = {"unknown": "server-error", "failed": "too-old"}
    for status, attempts in (("unknown", "1"), ("failed", "2")):
        ended = operator.run("list", "--status", status)
        [row] = ended.rows
        assert ended.code == 0
        assert ended.out.splitlines()[0].split() == [
            "ID", "N", "STATUS", "CLIENT", "AGE", "ATTEMPTS", "RECIPIENTS", "REASON",
        ]  # fmt: skip
        assert row[:4] == [ids[status], "1", status, CLIENT]
        assert row[5:] == [attempts, "2", reasons[status]]


def test_without_a_status_the_last_changed_sends_are_listed(
    operator: Operator, relay: Environment
) -> None:
    assert operator.run("list").out == "No send is unfinished or failed.\n"
    put(relay, READABLE["awaiting-report"], READABLE["accepted"])
    ids = [operator.failed(), operator.unknown(), operator.post("429-50100")]
    listed = operator.run("list", "--json").json
    statuses = ["queued", "unknown", "failed", "accepted"]
    assert [send["status"] for send in listed["sends"]] == statuses
    expected = [*reversed(ids), "golden-awaiting-report"]
    assert ([send["id"] for send in listed["sends"]], listed["more"]) == (expected, False)
    ended = operator.run("list", "--limit", "2")
    assert [row[0] for row in ended.rows] == expected[:2]
    assert "There are more: --limit N shows more." in ended.err
    assert "Sends that have ended are not listed, except failed ones" in ended.err


def test_a_list_is_limited_and_says_that_there_is_more(operator: Operator) -> None:
    ids = [operator.unknown() for _ in range(3)]
    ended = operator.run("list", "--status", "unknown", "--limit", "2")
    assert [row[0] for row in ended.rows] == ids[:2], "the longest waiting sends must come first"
    assert "--limit" in ended.err
    listed = operator.run("list", "--status", "unknown", "--limit", "3", "--json").json
    assert ([send["id"] for send in listed["sends"]], listed["more"]) == (ids, False)


@pytest.mark.parametrize("then", ["500", "429-50100"])
def test_sends_are_listed_by_age(operator: Operator, relay: Environment, then: str) -> None:
    status = {"500": "unknown", "429-50100": "queued"}[then]
    old, young = operator.post(then), operator.post(then)
    now = time.time()
    # A queued send waits up to 15 minutes after its last change.
    change(relay, old, updatedAt=now - 3700, dueAt=now - (3700 if then == "500" else 2900))
    ended = operator.run("list", "--status", status, "--older-than", "1h")
    assert [row[0] for row in ended.rows] == [old]
    assert ended.rows[0][4] == "61m"
    listed = operator.run("list", "--status", status, "--older-than", "30m", "--json").json
    assert young not in {send["id"] for send in listed["sends"]}
    nothing = operator.run("list", "--status", status, "--older-than", "2d")
    assert (nothing.code, nothing.out) == (0, f"No send is {status} for that long.\n")


def test_sends_from_the_index_are_read_again_before_they_are_listed(
    operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    message_id = operator.unknown()
    [send] = operator.sends(message_id)
    operator.run("resolve", message_id, "--as", "accepted", "--yes")
    monkeypatch.setattr(type(operator.ledger), "unfinished", lambda *_, **__: iter([send.key]))
    assert operator.run("list", "--status", "unknown").out == "No send is unknown.\n"


def test_a_message_is_shown_with_all_its_sends(operator: Operator) -> None:
    subscriber = {"mobile": "+12125550101", "key": "k"}
    message_id = operator.unknown(to=["+12125550100", subscriber], reference="order-8812")
    operator.works()  # in case the doubt paused the second call
    sends = {send.status: send for send in operator.sends(message_id)}
    ended = operator.run("show", message_id)
    assert ended.code == 0
    for shown in (message_id, CLIENT, "order-8812", "hold", sends[Status.ACCEPTED].token_id):
        assert str(shown) in ended.out
    shown = operator.run("show", message_id, "--json").json
    assert (shown["id"], shown["status"], shown["client"]) == (message_id, "unknown", CLIENT)
    assert [send["n"] for send in shown["sends"]] == [1, 2]
    assert {send["status"] for send in shown["sends"]} == {"unknown", "accepted"}


def test_the_upstreams_errors_are_shown_and_numbers_in_a_reference_are_not(
    operator: Operator,
) -> None:
    message_id = operator.post("429-50100", reference="call 12125550100")
    ended = operator.run("show", message_id)
    assert "call …" in ended.out
    [send] = operator.sends(message_id)
    assert send.errors
    assert f"send 1: {send.errors[0]}" in ended.out


def test_a_refused_message_is_shown_with_its_reasons(
    operator: Operator, relay: Environment
) -> None:
    relay.enqueue(MESSAGE | {"12125550100": 1}, {"client": CLIENT, "Idempotency-Key": "k"})
    relay.work()
    [letter] = relay.dead_letters()
    ended = operator.run("show", letter["messageId"])
    assert "unknown-field" in ended.out
    assert "rejected" in ended.out
    shown = operator.run("show", letter["messageId"], "--json").json
    assert [error["pointer"] for error in shown["errors"]] == ["/…"]


def test_a_token_leads_to_its_send(operator: Operator) -> None:
    message_id = operator.post()
    [send] = operator.sends(message_id)
    assert send.token_id
    assert message_id in operator.run("token", send.token_id).out
    shown = operator.run("token", send.token_id, "--json").json
    assert [entry["tokenId"] for entry in shown["sends"]] == [send.token_id]


def test_messages_are_found_by_their_reference_the_newest_first(
    operator: Operator, relay: Environment
) -> None:
    old, new = (operator.post(reference="order 8812") for _ in range(2))
    relay.post(MESSAGE | {"reference": "order 8812"}, client="another")
    change(relay, old, createdAt=time.time() - 7_300)
    by_reference = ("find", "--client", CLIENT, "--reference", "order 8812")
    ended = operator.run(*by_reference)
    assert ended.code == 0
    assert ended.out.splitlines()[0].split() == [
        "ID", "STATUS", "CLIENT", "AGE", "SENDS", "RECIPIENTS",
    ]  # fmt: skip
    assert [row[:3] for row in ended.rows] == [[it, "accepted", CLIENT] for it in (new, old)]
    assert ended.rows[1][3:] == ["2h", "1", "2"]
    cut = operator.run(*by_reference, "--limit", "1")
    assert [row[0] for row in cut.rows] == [new]
    assert "--limit" in cut.err
    found = operator.run(*by_reference, "--json").json
    assert ([it["id"] for it in found["messages"]], found["more"]) == ([new, old], False)
    assert operator.run("find", "--reference", "order 8812").code == 1, "of another client"


def test_a_message_is_found_by_its_key_or_by_the_id_that_sqs_gave(
    operator: Operator, relay: Environment
) -> None:
    sent = relay.enqueue(MESSAGE)
    refused = relay.enqueue(MESSAGE | {"text": " "})
    named = relay.enqueue(MESSAGE, {"client": CLIENT, "Idempotency-Key": sent})
    relay.work()
    assert named != sent
    for key, status in ((sent, "accepted"), (f'"{refused}"', "rejected")):
        [row] = operator.run("find", "--key", key).rows
        assert row[1:3] == [status, "internal"]
        limited = operator.run("find", "--key", key, "--limit", "1")
        assert ([it[0] for it in limited.rows], limited.err) == ([row[0]], "")
    [row] = operator.run("find", "--key", sent, "--client", CLIENT).rows
    assert row[2] == CLIENT
    assert operator.run("find", "--key", refused, "--client", CLIENT).code == 1


@pytest.mark.parametrize("arguments", [[], ["--key", "k", "--reference", "r"], ["--key", "ü"]])
def test_a_search_needs_one_key_or_one_reference(operator: Operator, arguments: list[str]) -> None:
    assert operator.run("find", *arguments).code == 2


def test_missing_messages_are_reported(operator: Operator) -> None:
    for arguments in (["show", "01K"], ["find", "--key", "k"], ["token", "t"], ["resend", "01K"]):
        ended = operator.run(*arguments)
        assert ended.code == 1
        assert ended.out == ""
        assert len(ended.err.splitlines()) == 1


def test_stats(operator: Operator, relay: Environment) -> None:
    nothing = operator.run("stats", "--json").json
    assert nothing["sends"]["open"] == {"count": 0, "oldestSeconds": None}
    operator.failed()
    waiting = operator.unknown()
    operator.unknown()
    operator.post("429-50100")
    change(relay, waiting, dueAt=time.time() - 7300)
    counted = operator.run("stats", "--json").json
    assert {name: group["count"] for name, group in counted["sends"].items()} == {
        "open": 1,
        "unknown": 2,
        "failed": 1,
    }
    assert counted["sends"]["unknown"]["oldestSeconds"] // 60 == 121
    assert counted["deadLetters"] == {"waiting": 1, "delayed": 0, "inWork": 0}
    assert sum(counted["queue"].values()) == 1
    table: list[Any] = [line.split() for line in operator.run("stats").out.splitlines()]
    assert ["unknown", "2", "2h"] in table
    assert ["dead", "letters", "1", "0", "0"] in table


def test_a_status_that_cannot_be_listed_is_refused_with_those_that_can(operator: Operator) -> None:
    ended = operator.run("list", "--status", "delivered")
    assert ended.code == 2
    # Python's version decides whether argparse quotes the values.
    assert "(choose from failed, queued, sending, unknown)" in ended.err.replace("'", "")


@pytest.mark.parametrize("status", ["queued", "unknown", "failed"])
def test_a_list_shows_the_readable_sends(
    operator: Operator, relay: Environment, status: str
) -> None:
    put(relay, READABLE[status])
    group = "open" if status == "queued" else status
    unreadable = put_unreadable_in(relay, f"{group}#0")
    ended = operator.run("list", "--status", status, "--json")
    assert ended.code == 0
    assert [send["id"] for send in ended.json["sends"]] == [f"golden-{status}"]
    assert ended.err.count("this version can't read the item MSG#") == unreadable
    stats = operator.run("stats", "--json")
    assert stats.code == 0
    assert stats.json["sends"][group]["count"] == unreadable + 1


@pytest.mark.parametrize("name", READABLE)
def test_each_golden_item_is_shown(operator: Operator, relay: Environment, name: str) -> None:
    put(relay, READABLE[name])
    ended = operator.run("show", f"golden-{name}", "--json")
    assert ended.code == 0
    assert ended.json["sends"][0]["status"] == READABLE[name]["status"]["S"]


@pytest.mark.parametrize("name", UNREADABLE)
def test_show_names_the_item_that_it_can_not_read(
    operator: Operator, relay: Environment, name: str
) -> None:
    put(relay, UNREADABLE[name])
    ended = operator.run("show", f"golden-{name}")
    assert (ended.code, ended.out) == (1, "")
    assert f"this version can't read the item MSG#golden-{name}/SEND#" in ended.err


def test_a_stack_that_does_not_exist_is_named_with_its_region(operator: Operator) -> None:
    ended = operator.run("stats", "--stack-name", "relay-x", "--region", "eu-west-1")
    assert (ended.code, ended.out) == (1, "")
    assert ended.err == (
        "smsrelay: there is no stack relay-x in eu-west-1: "
        "check --stack-name, --region and --profile\n"
    )
