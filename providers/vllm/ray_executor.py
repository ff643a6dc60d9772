"""vLLM's own command line on GPUs that a placement group of a Ray cluster has reserved.

Run by vLLM's Python, which has no hal0, as `python ray_executor.py serve ...`: it imports Ray and vLLM alone. vLLM
takes the placement group of the actor that it runs in, and else makes one of its own, which would wait for ever for the
GPUs that the slot itself holds. This process is no actor, so it shows vLLM the slot's group where it looks for that of
an actor. RAY_ADDRESS is the cluster, HAL0_PLACEMENT_GROUP the group's id. Exits with 1 and the reason if it cannot be
used.
"""

import os
import sys
from typing import Any, NoReturn

GROUP_VARIABLE = "HAL0_PLACEMENT_GROUP"
GROUP_WAIT_S = 30
FAILED = 1


def main() -> None:
    import ray

    try:
        # Workers' logs go through this process to the slot's own.
        ray.init(address=os.environ["RAY_ADDRESS"], configure_logging=False)
    except (KeyError, ConnectionError, RuntimeError, ValueError) as error:
        fail(f"cannot join the Ray cluster: {type(error).__name__}: {error}")
    show(reserved_group(os.environ.get(GROUP_VARIABLE, "")))

    from vllm.entrypoints.cli.main import main as vllm_main  # type: ignore[import-not-found]

    vllm_main()


def reserved_group(group_id: str) -> Any:
    from ray._raylet import PlacementGroupID
    from ray.util.placement_group import PlacementGroup

    try:
        group = PlacementGroup(PlacementGroupID(bytes.fromhex(group_id)))
        is_ready = group.wait(GROUP_WAIT_S)
    except Exception as error:
        fail(f"{GROUP_VARIABLE}: '{group_id}' is no placement group: {type(error).__name__}: {error}")
    if not is_ready:
        fail(f"the placement group {group_id} is not reserved after {GROUP_WAIT_S} s, or has been removed")
    if crowded := [bundle for bundle in group.bundle_specs if bundle.get("GPU", 0) > 1]:
        fail(f"vLLM takes no bundle of more than one GPU, and {crowded[0]} is reserved")
    return group


def show(group: Any) -> None:
    """vllm.engine.arg_utils.EngineArgs.create_engine_config (vLLM 0.32) asks these two, and hands the group to its
    other processes with its configuration."""
    import ray.util
    import vllm.engine.arg_utils  # type: ignore[import-not-found]

    vllm.engine.arg_utils.is_in_ray_actor = lambda: True
    ray.util.get_current_placement_group = lambda: group


def fail(reason: str) -> NoReturn:
    print(f"error: {reason}", file=sys.stderr, flush=True)
    sys.exit(FAILED)


if __name__ == "__main__":
    main()
