"""The first way in, through the handler: what is answered, sent and stored."""

from local.simulator import Simulator
from tests.support.environment import Environment

MESSAGE = {"message": "MzA6Nzg6MA", "to": ["+1 212 555 0100"], "text": "Hello"}


def test_a_message_is_sent_once_and_its_token_is_stored(
    relay: Environment, simulator: Simulator
) -> None:
    answer = relay.post(MESSAGE)

    [sent] = simulator.sent()
    assert answer.status == 202
    assert answer.body == {
        "id": answer.body["id"],
        "status": "accepted",
        "sends": [{"n": 1, "status": "accepted", "recipients": 1, "tokenId": sent["tokenId"]}],
    }
    assert answer.headers["Location"] == f"/messages/{answer.body['id']}"
    assert sent["body"] == {
        "mobileNumbers": ["12125550100"],
        "Override": True,
        "messageText": "Hello",
    }
    [item] = relay.items()
    assert item["tokenId"] == {"S": sent["tokenId"]}
    assert "body" not in item, "the text is kept only while a send is unfinished"
