"""What is shipped to make a cluster of machines, by the schemas of its readers: Ray's launcher, Serve, Kubernetes.

No package has the schema of KubeRay's resources, so the fields that the manifest uses are held against a list of those
that it knows: https://github.com/ray-project/kuberay/blob/master/helm-chart/kuberay-operator/crds/ray.io_rayservices.yaml
"""

import json
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml
from click import ClickException

from providers.devices import DECLARED_BY
from serve_app.config import EVERY_NODE, load_config_file
from serve_app.fit import DEVICE_MEMORY
from serve_app.node_resources import NODE

ROOT = Path(__file__).parents[2]
CLUSTER_CONFIG = ROOT / "configs" / "cluster.yaml"
KUBERNETES = "1.37"
SPEC = {"serveConfigV2", "rayClusterConfig", "excludeHeadPodFromServeSvc", "upgradeStrategy"}
CLUSTER = {"rayVersion", "headGroupSpec", "workerGroupSpecs"}
HEAD = {"rayStartParams", "template"}
GROUP = HEAD | {"groupName", "replicas", "minReplicas", "maxReplicas"}
DECLARABLE = {*DECLARED_BY.values(), DEVICE_MEMORY}


def read(name: str) -> Any:
    return yaml.safe_load((ROOT / name).read_text())


@pytest.fixture(scope="module")
def launched() -> dict[str, Any]:
    """`ray_cluster.yaml` as `ray up` reads it."""
    from ray.autoscaler._private.util import prepare_config, validate_config

    prepared: dict[str, Any] = prepare_config(read("ray_cluster.yaml"))
    validate_config(prepared)
    return prepared


@pytest.fixture(scope="module")
def cluster() -> Any:
    """Of the manifest for KubeRay."""
    return read("deploy/kuberay-rayservice.yaml")["spec"]["rayClusterConfig"]


def pods(cluster: Any) -> dict[str, Any]:
    """The template of each group's pods by the group's name."""
    groups = {"head": cluster["headGroupSpec"]} | {group["groupName"]: group for group in cluster["workerGroupSpecs"]}
    return {name: group["template"]["spec"] for name, group in groups.items()}


def test_rays_launcher_takes_the_file_and_all_of_its_machines(launched: dict[str, Any]) -> None:
    [machines] = launched["available_node_types"].values()
    assert machines["min_workers"] == machines["max_workers"] == len(launched["provider"]["worker_ips"]) == 2


def test_machines_that_are_there_have_one_type_by_rays_own_word() -> None:
    from ray.autoscaler._private.util import prepare_config

    with pytest.raises(ClickException):
        prepare_config(read("ray_cluster.yaml") | {"available_node_types": {"gpu": {}}})


def test_the_types_of_machines_that_the_documentation_shows_are_rays() -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    [block] = re.findall(r"```yml\n(.*?)```", (ROOT / "docs" / "cluster.md").read_text(), re.DOTALL)
    cloud = {"provider": {"type": "aws", "region": "eu-central-1"}}
    prepared = prepare_config(read("ray_cluster.yaml") | cloud | yaml.safe_load(block))
    validate_config(prepared)
    assert set(prepared["available_node_types"]["cuda"]["resources"]) <= DECLARABLE


def test_the_launchers_commands_are_of_a_shell_and_start_what_a_node_needs(launched: dict[str, Any]) -> None:
    for kind in ("head", "worker"):
        for command in launched[f"{kind}_setup_commands"] + launched[f"{kind}_start_ray_commands"]:
            subprocess.run(["bash", "-n", "-c", command], check=True)
        start = launched[f"{kind}_start_ray_commands"][-1]
        assert 'eval "$(.venv/bin/hal0 node-resources --env)"' in start
        assert '--resources="$(.venv/bin/hal0 node-resources)"' in start
    assert "--head" in launched["head_start_ray_commands"][-1]
    assert "--address=$RAY_HEAD_IP:6379" in launched["worker_start_ray_commands"][-1]


@pytest.mark.parametrize(("kind", "of_its_kind"), [("head", "--head"), ("worker", "--address=10.0.0.1:6379")])
def test_ray_is_started_with_what_the_machine_is_found_to_have(
    launched: dict[str, Any], tmp_path: Path, kind: str, of_its_kind: str
) -> None:
    """`hal0` and `ray` are scripts here that tell what they were given."""
    said = {"hal0": 'case "$*" in *--env) echo "export FAST=1" ;; *) echo \'{"vulkan": 1, "vram_gib": 24}\' ;; esac'}
    said["ray"] = 'printf "%s\\n" "$@" "$FAST $HAL0_API_KEYS $(ulimit -n)"'
    for name, script in said.items():
        program = tmp_path / "hal0" / ".venv" / "bin" / name
        program.parent.mkdir(parents=True, exist_ok=True)
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
    own = tmp_path / ".config" / "hal0" / "environment"
    own.parent.mkdir(parents=True)
    own.write_text("HAL0_API_KEYS=key\n")
    env = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "RAY_HEAD_IP": "10.0.0.1"}
    command = ["bash", "-c", f"ulimit -Sn 100 && {launched[f'{kind}_start_ray_commands'][-1]}"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    *arguments, environment = done.stdout.splitlines()
    assert arguments[0] == "start" and of_its_kind in arguments
    assert '--resources={"vulkan": 1, "vram_gib": 24}' in arguments
    fast, key, files = environment.split()
    assert (fast, key) == ("1", "key") and files != "100"


def test_what_the_launcher_copies_has_all_that_the_set_up_needs() -> None:
    file = read("ray_cluster.yaml")
    assert file["file_mounts"] == {"~/hal0": "."}
    [command] = file["setup_commands"]
    script = re.search(r"scripts/\S+", command)
    assert script is not None and (ROOT / script[0]).stat().st_mode & 0o111


@pytest.mark.parametrize("path", ["configs/cluster.yaml", "configs/hal0.yaml"])
def test_serve_takes_the_configuration(path: str) -> None:
    from ray.serve.schema import ServeDeploySchema

    ServeDeploySchema.model_validate(read(path))


def test_the_ingress_listens_on_every_node_and_asks_for_keys() -> None:
    file = load_config_file(CLUSTER_CONFIG)
    assert (file.host, file.document["proxy_location"]) == ("0.0.0.0", "Disabled")
    assert file.serving.ingress.replicas == EVERY_NODE
    assert not file.serving.ingress.allow_open


def test_slots_claim_what_nodes_can_declare() -> None:
    claims = [slot.resources for slot in load_config_file(CLUSTER_CONFIG).serving.slots]
    assert {name for claim in claims for name in claim.custom} <= DECLARABLE


def test_the_manifest_has_the_same_configuration() -> None:
    manifest = read("deploy/kuberay-rayservice.yaml")
    assert yaml.safe_load(manifest["spec"]["serveConfigV2"]) == read("configs/cluster.yaml")


def test_the_manifest_uses_only_fields_that_kuberay_knows(cluster: Any) -> None:
    manifest = read("deploy/kuberay-rayservice.yaml")
    assert (manifest["apiVersion"], manifest["kind"]) == ("ray.io/v1", "RayService")
    assert set(manifest) == {"apiVersion", "kind", "metadata", "spec"}
    assert set(manifest["spec"]) <= SPEC
    assert manifest["spec"]["upgradeStrategy"] == {"type": "None"}
    assert set(cluster) <= CLUSTER
    assert set(cluster["headGroupSpec"]) <= HEAD
    for group in cluster["workerGroupSpecs"]:
        assert set(group) <= GROUP
        assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]


@pytest.mark.parametrize("group", ["head", "cuda", "vulkan", "cpu"])
def test_kubernetes_takes_the_pods(cluster: Any, group: str) -> None:
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": group}, "spec": pods(cluster)[group]}
    kubernetes_validate.validate(pod, KUBERNETES, strict=True)


def test_pods_have_the_fast_environment_keys_and_the_port_of_the_configuration(cluster: Any) -> None:
    port = load_config_file(CLUSTER_CONFIG).port
    for pod in pods(cluster).values():
        [container] = pod["containers"]
        given = {one["name"]: one["value"] for one in container["env"]}
        assert NODE.items() <= given.items()
        assert container["envFrom"] == [{"secretRef": {"name": "hal0-keys"}}]
        assert {"name": "serve", "containerPort": port} in container["ports"]


def test_workers_are_ready_when_their_ingress_answers(cluster: Any) -> None:
    for name, pod in pods(cluster).items():
        probe = pod["containers"][0].get("readinessProbe")
        assert (name == "head") == (probe is None)
        if probe is not None:
            assert probe["httpGet"] == {"path": "/health", "port": "serve"}


def test_what_groups_declare_is_one_word_of_json_in_the_operators_command_line(cluster: Any) -> None:
    """It joins ` --resources=` and the value, and gives the whole to a shell."""
    for group in cluster["workerGroupSpecs"]:
        parameters = group["rayStartParams"]
        assert all(isinstance(value, str) for value in parameters.values())
        if (resources := parameters.get("resources")) is not None:
            [word] = shlex.split(f"--resources={resources}")
            assert set(json.loads(word.removeprefix("--resources="))) <= DECLARABLE


def test_the_manifests_ray_is_the_one_that_is_pinned(cluster: Any) -> None:
    [pin] = re.findall(r"^ray==(.*)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert cluster["rayVersion"] == pin
