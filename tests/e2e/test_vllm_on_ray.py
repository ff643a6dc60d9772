"""The way from a slot's placement group into vLLM, with a stand-in for vLLM's command line: it asks for the group where
vLLM 0.32 asks, and starts workers on the group's GPUs as its Ray executor does. vLLM itself has never run so here."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from providers.vllm.command import ON_RAY

pytestmark = pytest.mark.e2e

LIMIT_S = 120
ARG_UTILS = """
def is_in_ray_actor():
    return False

def placement_group():
    if is_in_ray_actor():
        import ray
        return ray.util.get_current_placement_group()
"""
MAIN = """
import json, pickle, sys
import ray
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy
from vllm.engine import arg_utils

@ray.remote(num_cpus=0, num_gpus=1)
class Worker:
    def gpus(self):
        return ray.get_runtime_context().get_accelerator_ids()["GPU"]

def main():
    group = pickle.loads(pickle.dumps(arg_utils.placement_group()))
    where = [PlacementGroupSchedulingStrategy(group, index) for index in range(len(group.bundle_specs))]
    workers = [Worker.options(scheduling_strategy=one).remote() for one in where]
    gpus = ray.get([worker.gpus.remote() for worker in workers], timeout=60)
    print(json.dumps({"argv": sys.argv[1:], "gpus": sorted(sum(gpus, []))}))
"""


JOBS: dict[str, dict[str, Any]] = {
    # All of the cluster's: a group of vLLM's own could not be had.
    "reserved": {"bundles": [{"GPU": 1}, {"GPU": 1}]},
    "crowded": {"bundles": [{"GPU": 2}]},
    "gone": {"bundles": [{"GPU": 1}], "is_gone": True},
}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Of each job, on one Ray."""
    site = tmp_path_factory.mktemp("site")
    for module, text in {"engine/arg_utils.py": ARG_UTILS, "entrypoints/cli/main.py": MAIN}.items():
        path = site / "vllm" / module
        path.parent.mkdir(parents=True)
        path.write_text(text)
    root = Path(__file__).parents[2]
    command = (sys.executable, "-m", "tests.support.ray_gpus", json.dumps(list(JOBS.values())))
    done = subprocess.run(
        (*command, sys.executable, str(ON_RAY), "serve", "model"),
        env={"PYTHONPATH": f"{site}:{root}", "PATH": "/usr/bin:/bin", "HOME": str(site)},
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return dict(zip(JOBS, json.loads(done.stdout.splitlines()[-1]), strict=True))


def test_workers_get_the_gpus_that_the_slot_has_reserved(results: dict[str, dict[str, Any]]) -> None:
    reserved = results["reserved"]
    assert reserved["code"] == 0, reserved["errors"]
    assert json.loads(reserved["output"].splitlines()[-1]) == {"argv": ["serve", "model"], "gpus": ["0", "1"]}


@pytest.mark.parametrize(
    ("job", "reason"), [("crowded", "vLLM takes no bundle of more than one GPU"), ("gone", "is no placement group")]
)
def test_a_group_that_is_of_no_use(results: dict[str, dict[str, Any]], job: str, reason: str) -> None:
    assert results[job]["code"] == 1 and reason in results[job]["errors"], results[job]
