"""Sends events and callbacks of a local stack to the simulator, whose phone page shows them."""

import json
from typing import Final

from tools.local_stack.aws import Clients
from tools.local_stack.signing_secrets import new_signing_secret

BUS: Final = "default"
EVENTS_PATH: Final = "/_received/events"
CALLBACKS_PATH: Final = "/_received/callbacks"
_NAME: Final = "smsrelay-phone-page"


def send_events(clients: Clients, simulator_url: str) -> None:
    """Add a rule that posts each event on the bus to the simulator."""
    connection = clients.events.create_connection(
        Name=_NAME,
        AuthorizationType="API_KEY",
        AuthParameters={
            "ApiKeyAuthParameters": {"ApiKeyName": "x-unused", "ApiKeyValue": "unused"}
        },
    )
    destination = clients.events.create_api_destination(
        Name=_NAME,
        ConnectionArn=connection["ConnectionArn"],
        InvocationEndpoint=f"{simulator_url}{EVENTS_PATH}",
        HttpMethod="POST",
    )
    clients.events.put_rule(
        Name=_NAME, EventBusName=BUS, EventPattern=json.dumps({"source": ["smsrelay"]})
    )
    arn = destination["ApiDestinationArn"]
    clients.events.put_targets(
        Rule=_NAME, EventBusName=BUS, Targets=[{"Id": "phone-page", "Arn": arn}]
    )


def send_callbacks(
    clients: Clients, simulator_url: str, *, client: str, secret_prefix: str, catalogue: str
) -> str:
    """Send a client's callbacks to the simulator.

    Returns:
        the secret that signs them.
    """
    secret = new_signing_secret()
    clients.secretsmanager.create_secret(
        Name=f"{secret_prefix}{client}", SecretString=json.dumps({"current": secret})
    )
    document = {"clients": {client: {"callback": f"{simulator_url}{CALLBACKS_PATH}"}}}
    clients.ssm.put_parameter(Name=catalogue, Value=json.dumps(document), Type="String")
    return secret
