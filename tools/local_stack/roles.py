"""The roles of a deployed stack's functions, and the calls that MiniStack denied."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from functools import cached_property
from typing import Any, Final, NamedTuple

from tools.local_stack import servers
from tools.local_stack.deployment import STACK_NAME
from tools.local_stack.stack import Stack

POLICY: Final = "exactly"
"""The name of each role's one policy."""
OTHER_VALUE: Final = "another"
"""A value that no condition contains."""


class Permission(NamedTuple):
    """An action on a resource that a role allows."""

    role: str
    """Its name in the template."""
    action: str
    resource: str

    def __str__(self) -> str:
        return f"{self.role:<18} {self.action:<29} {self.resource.split(':', 5)[-1]}"


class Roles:
    """The roles of a deployed stack's functions."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._iam = stack.clients.iam

    def permissions(self) -> list[Permission]:
        """Return the permissions of all roles, one for each action and resource."""
        return [
            Permission(role, statement["Action"], statement["Resource"])
            for role in self._names
            for statement in self._statements(role)
        ]

    def conditional(self) -> list[Permission]:
        """The permissions whose statements have a condition."""
        return [
            Permission(role, statement["Action"], statement["Resource"])
            for role in self._names
            for statement in self._statements(role)
            if "Condition" in statement
        ]

    def without(self, permission: Permission) -> AbstractContextManager[None]:
        """Remove a permission from its role in the `with` block; all functions restart."""
        return self._changed(permission, lambda _: [])

    def with_other_condition(self, permission: Permission) -> AbstractContextManager[None]:
        """Change the value in a permission's condition in the same way."""

        def changed(statement: dict[str, Any]) -> list[dict[str, Any]]:
            condition = {
                operator: {key: [OTHER_VALUE] for key in keys}
                for operator, keys in statement["Condition"].items()
            }
            return [statement | {"Condition": condition}]

        return self._changed(permission, changed)

    @contextmanager
    def _changed(
        self,
        permission: Permission,
        change: Callable[[dict[str, Any]], list[dict[str, Any]]],
    ) -> Iterator[None]:
        before = self._statements(permission.role)
        after = [
            statement
            for it in before
            for statement in (
                change(it) if (it["Action"], it["Resource"]) == permission[1:] else [it]
            )
        ]
        self._put(permission.role, after)
        restart_functions(self._stack)
        try:
            yield
        finally:
            self._put(permission.role, before)

    def denials(self, permission: Permission | None = None) -> int:
        """Count the denied calls of functions, or those denied for the lack of one permission."""
        wanted = ":assumed-role/"
        if permission:
            wanted += f"{self._names[permission.role]}/"
        action = permission.action if permission else ""
        return sum(
            f"{servers.DENIED} {action}" in line and wanted in line
            for line in servers.emulator_log(self._stack.state).read_text().splitlines()
        )

    @cached_property
    def _names(self) -> Mapping[str, str]:
        """The deployed roles' names by their names in the template."""
        resources = self._stack.clients.cloudformation.describe_stack_resources(
            StackName=STACK_NAME
        )["StackResources"]
        logical_ids = {it["PhysicalResourceId"]: it["LogicalResourceId"] for it in resources}
        return {logical_ids[name]: name for name in map(self._role_of, self._functions())}

    def _functions(self) -> list[str]:
        return list(self._stack.functions.values())

    def _role_of(self, function: str) -> str:
        configuration = self._stack.clients.lambda_.get_function_configuration(
            FunctionName=function
        )
        return configuration["Role"].rpartition("/")[2]

    def _statements(self, role: str) -> list[dict[str, Any]]:
        """The role's statements, each with one action and one resource."""
        document: Any = self._iam.get_role_policy(RoleName=self._names[role], PolicyName=POLICY)[
            "PolicyDocument"
        ]
        return [
            {name: statement[name] for name in statement if name != "Sid"}
            | {"Action": action, "Resource": resource}
            for statement in document["Statement"]
            for action in _listed(statement["Action"])
            for resource in _listed(statement["Resource"])
        ]

    def _put(self, role: str, statements: list[dict[str, Any]]) -> None:
        document = {"Version": "2012-10-17", "Statement": statements}
        self._iam.put_role_policy(
            RoleName=self._names[role], PolicyName=POLICY, PolicyDocument=json.dumps(document)
        )


def restart_functions(stack: Stack) -> None:
    """End the processes of all functions, and with them their cached tokens, secrets and names."""
    for name in stack.functions.values():
        timeout = stack.clients.lambda_.get_function_configuration(FunctionName=name)["Timeout"]
        stack.clients.lambda_.update_function_configuration(FunctionName=name, Timeout=timeout)


def _listed(one_or_many: str | list[str]) -> list[str]:
    return one_or_many if isinstance(one_or_many, list) else [one_or_many]
