"""The jobs of Kubernetes and systemd: their fields are ones that there are, and their rights those that they need."""

from __future__ import annotations

import configparser
import shutil
import subprocess
from collections.abc import Mapping
from typing import Any

import pytest
import yaml

from tests.ci.test_pins import ROOT

KUBERNETES = ROOT / "docs" / "ci" / "kubernetes.yaml"
UNITS = sorted((ROOT / "docs" / "ci" / "systemd").iterdir())
SERVICE, TIMER = UNITS

ANY = object()
METADATA = {"name": str, "labels": {"app.kubernetes.io/name": str}}
CONTAINER = {
    "name": str,
    "image": str,
    "command": [str],
    "args": [str],
    "env": [{"name": str, "value": str, "valueFrom": {"secretKeyRef": {"name": str, "key": str}}}],
    "resources": {"requests": {"cpu": str, "memory": str}, "limits": {"memory": str}},
    "securityContext": {
        "allowPrivilegeEscalation": bool,
        "readOnlyRootFilesystem": bool,
        "capabilities": {"drop": [str]},
    },
    "volumeMounts": [{"name": str, "mountPath": str, "readOnly": bool}],
}
POD = {
    "restartPolicy": str,
    "automountServiceAccountToken": bool,
    "enableServiceLinks": bool,
    "terminationGracePeriodSeconds": int,
    "securityContext": {
        "runAsNonRoot": bool,
        "runAsUser": int,
        "runAsGroup": int,
        "fsGroup": int,
        "seccompProfile": {"type": str},
    },
    "containers": [CONTAINER],
    "volumes": [
        {"name": str, "secret": {"secretName": str, "defaultMode": int}, "emptyDir": {"sizeLimit": str}},
    ],
}
JOB = {
    "completionMode": str,
    "completions": int,
    "parallelism": int,
    "backoffLimitPerIndex": int,
    "maxFailedIndexes": int,
    "activeDeadlineSeconds": int,
    "ttlSecondsAfterFinished": int,
    "podFailurePolicy": {
        "rules": [{"action": str, "onExitCodes": {"containerName": str, "operator": str, "values": [int]}}]
    },
    "template": {"metadata": {"labels": {"app.kubernetes.io/name": str}}, "spec": POD},
}
CRON_JOB = {
    "apiVersion": str,
    "kind": str,
    "metadata": METADATA,
    "spec": {
        "schedule": str,
        "timeZone": str,
        "concurrencyPolicy": str,
        "startingDeadlineSeconds": int,
        "successfulJobsHistoryLimit": int,
        "failedJobsHistoryLimit": int,
        "jobTemplate": {"spec": JOB},
    },
}
"""The fields of `batch/v1` that the example has, as the API's reference spells them: one that is not here is a slip."""


def strays(document: Any, shape: Any, place: str = "") -> list[str]:
    """The places of a document that are not of its shape."""
    if isinstance(shape, Mapping) and isinstance(document, dict):
        unknown = [f"{place}.{key}" for key in document if key not in shape]
        return unknown + [
            stray for key in document if key in shape for stray in strays(document[key], shape[key], f"{place}.{key}")
        ]
    if isinstance(shape, list) and isinstance(document, list):
        return [stray for number, item in enumerate(document) for stray in strays(item, shape[0], f"{place}[{number}]")]
    return [] if isinstance(shape, type) and type(document) is shape else [place]


@pytest.fixture
def cron_job() -> Any:
    return yaml.safe_load(KUBERNETES.read_text(encoding="utf-8"))


def test_the_cron_job_has_fields_that_there_are(cron_job: Any) -> None:
    assert strays(cron_job, CRON_JOB) == []
    assert (cron_job["apiVersion"], cron_job["kind"]) == ("batch/v1", "CronJob")


def test_a_misspelt_field_would_be_noticed(cron_job: Any) -> None:
    pod = cron_job["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    pod["containers"][0]["securityContext"]["readOnlyRootFileSystem"] = True
    pod["terminationGracePeriodSeconds"] = "90"
    place = ".spec.jobTemplate.spec.template.spec"
    assert strays(cron_job, CRON_JOB) == [
        f"{place}.terminationGracePeriodSeconds",
        f"{place}.containers[0].securityContext.readOnlyRootFileSystem",
    ]


def test_the_pods_are_not_root_and_write_nowhere_but_in_tmp(cron_job: Any) -> None:
    job = cron_job["spec"]["jobTemplate"]["spec"]
    pod = job["template"]["spec"]
    (container,) = pod["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    assert [mount["mountPath"] for mount in container["volumeMounts"] if not mount.get("readOnly")] == ["/tmp"]
    assert "@sha256:" in container["image"]


def test_the_pods_share_all_locations_among_them(cron_job: Any) -> None:
    job = cron_job["spec"]["jobTemplate"]["spec"]
    (container,) = job["template"]["spec"]["containers"]
    given = {each["name"]: each.get("value") for each in container["env"]}
    assert (job["completionMode"], int(given["SHARES"])) == ("Indexed", job["completions"])
    assert job["maxFailedIndexes"] == job["completions"], "one location's failure ends no other's pod"
    # no secret stands in the file
    assert given["RECONCILER_STATE"] is None


def read_unit(text: str) -> configparser.RawConfigParser:
    unit = configparser.RawConfigParser(strict=False)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read_string(text.replace("\\\n", ""))
    return unit


def test_the_service_has_no_user_and_no_token_of_its_own() -> None:
    service = read_unit(SERVICE.read_text(encoding="utf-8"))["Service"]
    assert service["DynamicUser"] == "yes"
    assert "LoadCredential=token:/etc/reconciler/tokens/%i\n" in SERVICE.read_text(encoding="utf-8")
    assert "TOKEN" not in "".join(value for key, value in service.items() if key == "Environment")
    assert read_unit(TIMER.read_text(encoding="utf-8"))["Timer"]["Persistent"] == "yes"


def _systemd_analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    if not shutil.which("systemd-analyze"):
        pytest.skip("no systemd-analyze: it comes with systemd")
    return subprocess.run(["systemd-analyze", *arguments], capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_systemd_takes_the_units_without_a_word() -> None:
    done = _systemd_analyze("verify", *map(str, UNITS))
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_the_service_is_as_locked_up_as_one_that_needs_the_network_can_be() -> None:
    # of 100, where 100 is a service without any hardening; a web server's unit has 92
    done = _systemd_analyze("security", "--offline=yes", "--threshold=20", str(SERVICE))
    assert done.returncode == 0, done.stdout[-200:]
