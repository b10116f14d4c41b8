"""Check configs/launch against the schemas of those who read it: `python docs/check_launch_files.py CRD`.

`CRD` is `config/components/crd/bases/jobset.x-k8s.io_jobsets.yaml` of a checkout of the JobSet controller.
Needs the packages skypilot, kubernetes-validate and PyYAML, in an environment of their own; attnkit is not
imported.
"""

import copy
import os
import sys
from pathlib import Path
from typing import Any

os.environ["SKYPILOT_DISABLE_USAGE_COLLECTION"] = "1"

import jsonschema
import kubernetes_validate
import sky
import yaml

LAUNCH = Path(__file__).parents[1] / "configs" / "launch"
VERSION = "v1alpha2"


def strict(schema: dict[str, Any]) -> dict[str, Any]:
    """A schema of Kubernetes as one of JSON that refuses fields it does not know, as `kubectl apply` does."""
    schema = copy.deepcopy(schema)
    todo: list[Any] = [schema]
    while todo:
        one = todo.pop()
        if isinstance(one, list):
            todo += one
        if not isinstance(one, dict):
            continue
        if one.pop("x-kubernetes-int-or-string", False):
            one["type"] = ["integer", "string"]
        if isinstance(one.get("properties"), dict):
            one.setdefault("additionalProperties", one.get("x-kubernetes-preserve-unknown-fields", False))
        todo += one.values()
    return schema


def check_job_set(crd: Path) -> str:
    """The set by the definition of its resource, and the job in it by Kubernetes' own schema."""
    versions = yaml.safe_load(crd.read_text(encoding="utf-8"))["spec"]["versions"]
    schema = next(one["schema"]["openAPIV3Schema"] for one in versions if one["name"] == VERSION)
    schema["properties"]["metadata"] = {"type": "object"}  # the cluster's, not the definition's
    given = yaml.safe_load((LAUNCH / "jobset.yaml").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator(strict(schema)).validate(given)
    for one in given["spec"]["replicatedJobs"]:
        job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": one["name"]}, **one["template"]}
        version = kubernetes_validate.validate(job, kubernetes_validate.latest_version(), strict=True)
    return f"jobset.yaml: a JobSet {VERSION}, its jobs of Kubernetes {version}"


def check_sky_pilot() -> str:
    """The task as SkyPilot reads it; which clouds have such nodes is not asked."""
    task = sky.Task.from_yaml(str(LAUNCH / "skypilot.yaml"))
    return f"skypilot.yaml: a task of SkyPilot {sky.__version__}, {task.num_nodes} nodes"


if __name__ == "__main__":
    print(check_job_set(Path(sys.argv[1])), check_sky_pilot(), sep="\n")
