"""A CronJob of Kubernetes for each row, a kustomization of them, and a Containerfile for the image.

The manifests are JSON, which Kubernetes and kustomize read as they read YAML.

Reference: kubernetes.io/docs/reference, batch/v1 CronJob; the Job's name is made by the CronJob's controller.
"""

import json
import re
from datetime import tzinfo
from typing import Any

from systemscripts.cron.slots import LATEST_START
from systemscripts.engines.five_fields import five_fields, in_the_night
from systemscripts.engines.rows import MARK, PlannedJob, Rendered, refusal
from systemscripts.engines.times import Nights, times_of
from systemscripts.errors import JobError
from systemscripts.schedule.slots import GRACE

OURS = re.compile(r"etl-(?:task|report)-[0-9]+(?:-clock[0-9]*)?\.json|kustomization\.yaml|Containerfile")
IMAGE = "client-etl-workflow"
SECRETS, SETTINGS, VOLUME = "etl-secrets", "etl-settings", "etl-data"

_USER = 10001
_HOME = "/data"
# After so long a start would be late for the watch, too.
_STARTING_DEADLINE_S = int(min(GRACE, LATEST_START).total_seconds())
_RESOURCES = {"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"memory": "2Gi"}}


def manifests(rows: list[PlannedJob], nights: Nights, zone: tzinfo) -> Rendered:
    """Return the files for all rows that Kubernetes can have; raises JobError if the zone has no name."""
    name = zone_name(zone)
    files: dict[str, str] = {}
    refused = []
    for row in rows:
        try:
            _refuse_hosts(row)
            times = times_of(row.job.frequency)
            schedules = {row.unit: five_fields(times)}
            for number, ends in enumerate(in_the_night(times, nights.skipped), 1):
                schedules[f"{row.unit}-clock{number if number > 1 else ''}"] = ends
            files |= {f"{unit}.json": _text(cron_job(row, unit, when, name)) for unit, when in schedules.items()}
        except JobError as problem:
            refused.append(refusal(row, problem, "Kubernetes"))
    files["kustomization.yaml"] = _kustomization(sorted(files))
    files["Containerfile"] = _containerfile(name)
    return Rendered(files, refused)


def _refuse_hosts(row: PlannedJob) -> None:
    if row.job.host_pattern:
        raise JobError(
            f"its host_pattern is {row.job.host_pattern!r}, and each pod has a name of its own that nobody knows before; "
            "empty it, and let Kubernetes choose the node by a kustomization of yours"
        )


def zone_name(zone: tzinfo) -> str:
    """Return the zone's name, such as Europe/Zurich."""
    name = getattr(zone, "key", "UTC")
    if not name:
        raise JobError("the time zone of this machine has no name; set it with timedatectl set-timezone")
    return str(name)


def cron_job(row: PlannedJob, unit: str, schedule: str, zone: str) -> dict[str, Any]:
    """Return the manifest of one CronJob. No Job is tried again by Kubernetes: the door does that, by the row."""
    labels = {"app.kubernetes.io/name": IMAGE, "app.kubernetes.io/managed-by": "update_cron_jobs"}
    job: dict[str, Any] = {
        "backoffLimit": 0,
        "template": {"metadata": {"labels": labels}, "spec": _pod(row, unit)},
    }
    if row.longest_seconds is not None:
        job["activeDeadlineSeconds"] = row.longest_seconds
    return {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {
            "name": unit,
            "labels": labels,
            "annotations": {f"{IMAGE}/written": MARK, f"{IMAGE}/row": row.title},
        },
        "spec": {
            "schedule": schedule,
            "timeZone": zone,
            "concurrencyPolicy": "Forbid",
            "startingDeadlineSeconds": _STARTING_DEADLINE_S,
            "successfulJobsHistoryLimit": 1,
            "failedJobsHistoryLimit": 3,
            "jobTemplate": {"spec": job},
        },
    }


def _pod(row: PlannedJob, unit: str) -> dict[str, Any]:
    job_name = {"fieldRef": {"fieldPath": "metadata.labels['batch.kubernetes.io/job-name']"}}
    container = {
        "name": "job",
        "image": IMAGE,
        # $(NAME) would be replaced; a doubled $ is one.
        "args": [word.replace("$", "$$") for word in row.arguments],
        "env": [
            {"name": "ETL_HOME", "value": _HOME},
            {"name": "ETL_CRONJOB", "value": unit},
            {"name": "ETL_JOB_NAME", "valueFrom": job_name},
        ],
        "envFrom": [{"configMapRef": {"name": SETTINGS}}, {"secretRef": {"name": SECRETS}}],
        "resources": _RESOURCES,
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [{"name": "data", "mountPath": _HOME}, {"name": "tmp", "mountPath": "/tmp"}],  # noqa: S108
    }
    return {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": _USER,
            "runAsGroup": _USER,
            "fsGroup": _USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
        "volumes": [
            {"name": "data", "persistentVolumeClaim": {"claimName": VOLUME}},
            {"name": "tmp", "emptyDir": {}},
        ],
    }


def _text(manifest: dict[str, Any]) -> str:
    return json.dumps(manifest, indent=2, ensure_ascii=False) + "\n"


def _kustomization(names: list[str]) -> str:
    listed = "".join(f"  - {name}\n" for name in names) if names else "  []\n"
    return f"# {MARK}\napiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources:\n{listed}"


def _containerfile(zone: str) -> str:
    """Return how the image is built from a checkout. Only the site can know the digest that the base is pinned to."""
    return f"""\
# {MARK}
# Build it from the checkout. Pin the base to a digest that you have checked: --build-arg BASE=python@sha256:…
ARG BASE=docker.io/library/python:3.13-slim-bookworm
FROM ${{BASE}}
# The zone of the schedule: the door finds a slot in the machine's zone, and a container's is UTC.
RUN ln -sf /usr/share/zoneinfo/{zone} /etc/localtime \\
 && groupadd --gid {_USER} etl && useradd --uid {_USER} --gid {_USER} --home-dir {_HOME} --no-create-home etl
WORKDIR /opt/etl
COPY env.sh pyproject.toml requirements.txt ./
COPY jobscripts jobscripts
COPY systemscripts systemscripts
COPY onboarding onboarding
RUN bash onboarding/sh/make_venv.sh
USER {_USER}:{_USER}
ENTRYPOINT ["/bin/bash", "/opt/etl/onboarding/engines/entrypoint.sh"]
"""
