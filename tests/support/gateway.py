"""API Gateway's keys and plans; moto's needs a package that is not there, e2e has real ones."""

import uuid
from types import SimpleNamespace
from typing import Any

Json = dict[str, Any]


class Gateway:
    """What `smsrelay client` calls of it."""

    def __init__(self) -> None:
        self.api_keys: dict[str, Json] = {}
        self.plans: dict[str, Json] = {"p0": {"id": "p0", "name": "another API's"}}
        self.plan_keys: dict[str, list[str]] = {}

    def create_api_key(self, name: str, *, enabled: bool) -> Json:
        key_id = f"key{len(self.api_keys)}"
        value = str(uuid.uuid4())
        self.api_keys[key_id] = {"id": key_id, "name": name, "enabled": enabled, "value": value}
        return self.api_keys[key_id]

    def create_usage_plan(self, **plan: Any) -> Json:
        plan_id = f"p{len(self.plans)}"
        self.plans[plan_id] = plan | {"id": plan_id}
        self.plan_keys[plan_id] = []
        return self.plans[plan_id]

    def create_usage_plan_key(self, *, usagePlanId: str, keyId: str, keyType: str) -> None:  # noqa: N803 - AWS's names
        assert keyType == "API_KEY"
        self.plan_keys[usagePlanId].append(keyId)

    def delete_usage_plan_key(self, *, usagePlanId: str, keyId: str) -> None:  # noqa: N803 - same
        self.plan_keys[usagePlanId].remove(keyId)

    def delete_api_key(self, *, apiKey: str) -> None:  # noqa: N803 - same
        del self.api_keys[apiKey]

    def get_paginator(self, operation: str) -> Any:
        def keys(usagePlanId: str) -> list[Json]:  # noqa: N803 - same
            return [{"items": [{"id": key}]} for key in self.plan_keys[usagePlanId]]

        def plans() -> list[Json]:
            return [{"items": [plan]} for plan in self.plans.values()]

        paginate = {"get_usage_plans": plans, "get_usage_plan_keys": keys}[operation]
        return SimpleNamespace(paginate=paginate)
