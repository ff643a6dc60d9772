"""A Ray of its own with two GPUs that are mere numbers, and programs that are run beside placement groups of it.

`python -m tests.support.ray_gpus JOBS COMMAND...`: JOBS is a list in JSON of `{bundles, is_gone}`. For each of them
COMMAND is told of cluster and group as an engine is; `is_gone`: the group has been removed by then. The last line that
is written is a list of `{code, output, errors}`.
"""

import json
import os
import subprocess
import sys
from typing import Any

import ray
from ray.util.placement_group import placement_group, remove_placement_group


def main() -> None:
    jobs, command = json.loads(sys.argv[1]), sys.argv[2:]
    ray.init(num_cpus=1, num_gpus=2, include_dashboard=False, log_to_driver=False)
    try:
        print(json.dumps([run(command, **job) for job in jobs]))
    finally:
        ray.shutdown()


def run(command: list[str], bundles: list[dict[str, float]], is_gone: bool = False) -> dict[str, Any]:
    group = placement_group(bundles, strategy="PACK")
    assert group.wait(60), "not reserved"
    if is_gone:
        remove_placement_group(group)
    told = {"RAY_ADDRESS": ray.get_runtime_context().gcs_address, "HAL0_PLACEMENT_GROUP": group.id.hex()}
    done = subprocess.run(command, env=os.environ | told, capture_output=True, text=True, check=False)
    if not is_gone:
        remove_placement_group(group)
    return {"code": done.returncode, "output": done.stdout, "errors": done.stderr}


if __name__ == "__main__":
    main()
