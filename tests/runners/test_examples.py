"""The cluster descriptions in ``examples`` hold what Ray and KubeRay ask of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

ray = pytest.importorskip("ray")
yaml = pytest.importorskip("yaml")  # comes with Ray

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_ray_up_would_take_the_cluster_file():
    jsonschema = pytest.importorskip("jsonschema")  # comes with Ray
    schema = Path(ray.__file__).parent / "autoscaler" / "ray-schema.json"
    if not schema.exists():
        pytest.skip("this Ray has no schema of its cluster files")
    from ray.autoscaler._private.util import prepare_config, validate_config

    cluster = yaml.safe_load((EXAMPLES / "ray-cluster.yaml").read_text())
    jsonschema.validate(cluster, json.loads(schema.read_text()))
    whole = prepare_config(cluster)
    validate_config(whole)
    (machines,) = whole["available_node_types"].values()
    assert machines["min_workers"] == len(cluster["provider"]["worker_ips"])  # all of them, from the start


# The fields that KubeRay 1.2 knows, of those one may want here: ray-operator/apis/ray/v1/ray{job,cluster}_types.go
_JOB = {"entrypoint", "backoffLimit", "shutdownAfterJobFinishes", "ttlSecondsAfterFinished", "rayClusterSpec"}
_GROUP = {"groupName", "replicas", "minReplicas", "maxReplicas", "rayStartParams", "template"}


def test_the_kubernetes_manifest_has_the_fields_that_kuberay_asks_for():
    text = (EXAMPLES / "kuberay.yaml").read_text()
    before, gpus = text.split("      # For GPUs take this group in.")
    gpus = "\n".join(line.replace("# ", "", 1) for line in gpus.splitlines()[1:])
    job = yaml.safe_load(f"{before}\n{gpus}")
    assert (job["apiVersion"], job["kind"], set(job["spec"])) == ("ray.io/v1", "RayJob", _JOB)
    cluster = job["spec"]["rayClusterSpec"]
    assert f"rayproject/ray:{cluster['rayVersion']}-py" in text
    assert set(cluster) == {"rayVersion", "headGroupSpec", "workerGroupSpecs"}
    assert set(cluster["headGroupSpec"]) == {"rayStartParams", "template"}
    assert [group["groupName"] for group in cluster["workerGroupSpecs"]] == ["cpu", "gpu"]
    for group in cluster["workerGroupSpecs"]:
        assert set(group) == _GROUP
        assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())
        (container,) = group["template"]["spec"]["containers"]
        volumes = {volume["name"] for volume in group["template"]["spec"]["volumes"]}
        assert {"name", "image", "resources"} <= set(container)
        assert {mount["name"] for mount in container["volumeMounts"]} == volumes
