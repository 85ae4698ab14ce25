"""`make delete`: the clients go before the stack, and the command prints what stays."""

import json
from pathlib import Path

import pytest

from tools import deploy
from tools.local_stack.aws import CREDENTIALS
from tools.local_stack.deployment import STACK_NAME
from tools.local_stack.stack import LocalStack

SAMCONFIG = f"""version = 0.1
[local.global.parameters]
stack_name = "{STACK_NAME}"
region = "us-east-1"
"""


def test_delete_removes_clients_then_the_stack_and_prints_what_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    samconfig = tmp_path / "samconfig.toml"
    samconfig.write_text(SAMCONFIG)
    with LocalStack(tmp_path / "stack") as stack:
        aws = {name.upper(): value for name, value in CREDENTIALS.items()}
        nothing = {"AWS_CONFIG_FILE": "/dev/null", "AWS_SHARED_CREDENTIALS_FILE": "/dev/null"}
        for name, value in (aws | nothing | {"AWS_ENDPOINT_URL": stack.aws_endpoint_url}).items():
            monkeypatch.setenv(name, value)
        stack.clients.secretsmanager.create_secret(
            Name=f"{STACK_NAME}/callbacks/shop", SecretString=json.dumps({"current": "whsec_eA=="})
        )
        stack.clients.ssm.put_parameter(Name=stack.catalogue_parameter, Value="{}", Type="String")
        gateway = stack.clients.apigateway
        assert [it["name"].rpartition("/")[2] for it in gateway.get_usage_plans()["items"]] == [
            stack.default_client
        ]

        deploy.delete(deploy.load("local", samconfig), yes=True)

        assert gateway.get_usage_plans()["items"] == []
        assert gateway.get_api_keys()["items"] == []
        assert gateway.get_rest_apis()["items"] == []
        stays = capsys.readouterr().out.partition("What stays")[2]
        for name in (
            stack.table,
            stack.token_secret,
            stack.credentials_secret,
            f"{STACK_NAME}/callbacks/shop",
            stack.catalogue_parameter,
        ):
            assert stays.count(name) == 1
        assert len([line for line in stays.splitlines() if line.startswith("  ")]) == 6
        assert stack.clients.dynamodb.describe_table(TableName=stack.table)
        with pytest.raises(deploy.DeployError, match="there is no stack"):
            deploy.delete(deploy.load("local", samconfig), yes=True)
