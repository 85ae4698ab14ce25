"""Lists the resources of an account whose types a deletion must name or delete."""

from typing import Any

import boto3

OWN_KEY = "CUSTOMER"


def existing(endpoint_url: str) -> dict[str, set[str]]:
    """Return the names of all resources of an emulator, by CloudFormation type.

    Keys that are scheduled for deletion are left out.
    """

    def client(service: str) -> Any:
        return boto3.client(  # type: ignore[call-overload]  # any service
            service,
            endpoint_url=endpoint_url,
            region_name="us-east-1",
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )

    gateway, kms = client("apigateway"), client("kms")
    keys = [kms.describe_key(KeyId=it["KeyId"])["KeyMetadata"] for it in kms.list_keys()["Keys"]]
    return {
        "AWS::ApiGateway::ApiKey": {it["name"] for it in gateway.get_api_keys()["items"]},
        "AWS::ApiGateway::RestApi": {it["name"] for it in gateway.get_rest_apis()["items"]},
        "AWS::ApiGateway::UsagePlan": {it["name"] for it in gateway.get_usage_plans()["items"]},
        "AWS::CloudWatch::Alarm": {
            it["AlarmName"] for it in client("cloudwatch").describe_alarms()["MetricAlarms"]
        },
        "AWS::DynamoDB::Table": set(client("dynamodb").list_tables()["TableNames"]),
        "AWS::IAM::Role": {it["RoleName"] for it in client("iam").list_roles()["Roles"]},
        "AWS::KMS::Key": {
            it["KeyId"]
            for it in keys
            if it["KeyManager"] == OWN_KEY and it["KeyState"] != "PendingDeletion"
        },
        "AWS::Lambda::Function": {
            it["FunctionName"] for it in client("lambda").list_functions()["Functions"]
        },
        "AWS::Logs::LogGroup": {
            it["logGroupName"] for it in client("logs").describe_log_groups()["logGroups"]
        },
        "AWS::SQS::Queue": {
            it.rpartition("/")[2] for it in client("sqs").list_queues().get("QueueUrls", [])
        },
        "AWS::SSM::Parameter": {
            it["Name"] for it in client("ssm").describe_parameters()["Parameters"]
        },
        "AWS::Scheduler::Schedule": {
            it["Name"] for it in client("scheduler").list_schedules()["Schedules"]
        },
        "AWS::SecretsManager::Secret": {
            it["Name"] for it in client("secretsmanager").list_secrets()["SecretList"]
        },
    }
