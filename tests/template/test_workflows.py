"""Checks the workflows' permissions, secrets and pins, and that prod needs an approval."""

import re
from typing import Any

import pytest
import yaml

from tests.support.template import ROOT

FILES = sorted((ROOT / ".github/workflows").glob("*.yml"))
TEXTS = {file.stem: file.read_text() for file in FILES}
WORKFLOWS: dict[str, dict[Any, Any]] = {name: yaml.safe_load(it) for name, it in TEXTS.items()}
JOBS: dict[tuple[str, str], dict[str, Any]] = {
    (name, job): it for name, workflow in WORKFLOWS.items() for job, it in workflow["jobs"].items()
}
WRITES = {
    ("deploy", "dev"): {"id-token"},
    ("deploy", "prod"): {"id-token"},
    ("release", "build"): {"id-token", "attestations"},
    ("release", "publish"): {"contents"},
    ("update", "propose"): {"actions", "contents", "pull-requests"},
}
"""The permissions of each job that may change something. All other jobs only read."""


def steps(job: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = job.get("steps", [])  # a job that calls a workflow has no steps
    return found


def scripts(job: dict[str, Any]) -> list[str]:
    return [step["run"] for step in steps(job) if "run" in step]


def uses(job: dict[str, Any], action: str) -> list[dict[str, Any]]:
    return [step for step in steps(job) if step.get("uses", "").startswith(f"{action}@")]


def test_each_push_runs_what_ci_runs() -> None:
    assert scripts(JOBS["test", "test"]) == [".ci/run"]
    triggers = WORKFLOWS["test"][True]  # YAML 1.1 reads the key `on` as true
    assert triggers.keys() == {"push", "pull_request", "workflow_call", "workflow_dispatch"}
    # deploy.yml calls it for this branch.
    assert triggers["push"] == {"branches-ignore": ["main"]}
    assert WORKFLOWS["deploy"][True] == {"push": {"branches": ["main"]}}
    for name in ("deploy", "release"):
        assert JOBS[name, "test"]["uses"] == "./.github/workflows/test.yml"


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_workflow_has_no_permission_that_its_jobs_do_not_name(name: str) -> None:
    assert WORKFLOWS[name]["permissions"] == {}
    assert "pull_request_target" not in TEXTS[name], "strangers' code would get permissions"


def test_each_job_has_only_the_permissions_that_it_needs() -> None:
    granted = {key: job["permissions"] for key, job in JOBS.items()}
    assert all({"read", "write"} >= {*it.values()} for it in granted.values())
    written = {key: {n for n, it in job.items() if it == "write"} for key, job in granted.items()}
    assert {key: names for key, names in written.items() if names} == WRITES
    assert all(
        {n for n, it in job.items() if it == "read"} <= {"contents"} for job in granted.values()
    )


def test_a_job_that_writes_to_the_repository_runs_no_code_of_the_project() -> None:
    writers = [job for job in JOBS.values() if job["permissions"].get("contents") == "write"]
    assert writers
    for job in writers:
        assert not re.search(r"make|python|pip|npm|\./|\.ci", "\n".join(scripts(job)))


def test_prod_is_deployed_after_dev_and_an_approval() -> None:
    deployed = {}
    for key, job in JOBS.items():
        for stage in re.findall(r"make deploy STAGE=(\w+)", "\n".join(scripts(job))):
            deployed[stage] = key
            assert job["environment"] == stage, "the environment defines the reviewers and the role"
    assert deployed == {"dev": ("deploy", "dev"), "prod": ("deploy", "prod")}
    assert JOBS["deploy", "prod"]["needs"] == "dev"
    assert JOBS["deploy", "dev"]["needs"] == "test"
    assert "if" not in JOBS["deploy", "prod"], "a condition can override `needs`"


def test_credentials_of_aws_come_from_oidc_and_an_environment() -> None:
    found = [job for job in JOBS.values() if uses(job, "aws-actions/configure-aws-credentials")]
    assert found
    for job in found:
        assert job["environment"]
        [step] = uses(job, "aws-actions/configure-aws-credentials")
        assert step["with"].keys() == {"role-to-assume", "aws-region"}


@pytest.mark.parametrize("name", TEXTS)
def test_no_secret_can_be_shown(name: str) -> None:
    assert "secrets." not in TEXTS[name], "OIDC and the job's token are enough"
    for key, job in JOBS.items():
        if key[0] != name:
            continue
        for script in scripts(job):
            assert "${{" not in script, "a shell would run its value"
            assert not re.search(r"TOKEN|set -x|printenv|\benv\b", script)


def test_files_of_a_release_are_attested_before_they_are_published() -> None:
    actions = [step.get("uses", "").partition("@")[0] for step in steps(JOBS["release", "build"])]
    assert actions.index("actions/attest") < actions.index("actions/upload-artifact")
    [attest] = uses(JOBS["release", "build"], "actions/attest")
    assert attest["with"] == {"subject-path": "dist/*"}
    assert "make release" in scripts(JOBS["release", "build"])
    assert JOBS["release", "publish"]["needs"] == "build"


@pytest.mark.parametrize("name", TEXTS)
def test_actions_are_pinned_by_commit(name: str) -> None:
    found = re.findall(r"(?m)^ +(?:- )?uses: (.+)$", TEXTS[name])
    assert found
    for action in found:
        assert action.startswith("./") or re.fullmatch(
            r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action
        )


def test_an_action_has_the_same_version_everywhere_and_keeps_no_token() -> None:
    pins = re.findall(r"uses: ([\w/-]+)@(.+)", "\n".join(TEXTS.values()))
    assert len(set(pins)) == len({action for action, _ in pins})
    for key, job in JOBS.items():
        for checkout in uses(job, "actions/checkout"):
            assert checkout["with"]["persist-credentials"] == (key == ("update", "propose"))
