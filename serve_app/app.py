"""The application that `serve run` imports: `serve_app.app:build`."""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ray import serve
from ray.serve.config import AutoscalingConfig, ProxyLocation, RequestRouterConfig
from ray.serve.schema import LoggingConfig

from providers.devices import Device
from providers.spec import SlotSpec
from serve_app.board_deployment import BoardDeployment
from serve_app.config import EVERY_NODE, ServingConfig, parse_config
from serve_app.fit_check import require_fit, wants_of
from serve_app.ingress import INGRESS_DRAIN_S, IngressDeployment
from serve_app.launch.advice import advise_plain_serve
from serve_app.listen_options import ListenOptions
from serve_app.listener import REPLACED_DRAIN_S
from serve_app.nodes import alive_nodes, declared
from serve_app.placement import Claim, advice_if_unplaceable
from serve_app.security import load_keys, require_closed
from serve_app.settings import load_settings
from serve_app.slot import SlotDeployment
from serve_app.stages import STRATEGY, bundles_of
from serve_app.unchanged import fingerprint

logger = logging.getLogger("hal0")

MANY_CALLS = 10_000
DRAIN_WAIT_S = 600.0
"""How long a replica that is to stop waits for its requests: they are never cut to make room."""
HEALTH_CHECK_S = 1.0
"""How soon Serve notices a replica that was killed."""
INGRESS_CLOSE_S = 2.0
DRAIN_POLL_S = 0.01
ONE_PER_NODE = AutoscalingConfig(
    # The policy counts the nodes. Initial replicas would be all that there are for a while after each deploy.
    min_replicas=1,
    max_replicas=10_000,
    upscale_delay_s=0,
    downscale_delay_s=0,
)
HEAD = "node:__internal_head__"
"""A resource of which Ray gives one unit to the head node."""
A_LITTLE = 0.001
"""Of a resource that only says where something may live."""
ROUTER: Any = "serve_app.watched_router:WatchedRouter"
deployment: Any = serve.deployment
"""Ray's own types know only its use as a decorator."""
QUIET_LOGS = LoggingConfig(enable_access_log=False)


def build(args: dict[str, Any]) -> serve.Application:
    """One ingress, one board, and a deployment for each slot. Raises `ConfigError`."""
    advise_plain_serve()
    config = parse_config(args)
    http = serving_http()
    require_closed(http.host, load_keys(config, load_settings()), config.ingress.allow_open)
    nodes = declared(alive_nodes())
    wants = wants_of(config, nodes, load_settings().models_dir)
    require_fit(config, wants, nodes)
    devices = {want.slot.name: want.device for want in wants}
    raw = json.loads(json.dumps(args))
    board = _board(raw, devices)
    slots: dict[str, Any] = {}
    for want, raw_slot in zip(wants, raw["slots"], strict=True):
        slot = want.slot
        if advice := advice_if_unplaceable(want.claim, nodes, slot.stages):
            logger.warning("Slot '%s' fits on no node: %s", slot.name, advice)
        slots[slot.name] = _slot(slot, raw_slot, want.device, want.claim, board)
    return _ingress(config, raw, board, slots, http)


@dataclass(frozen=True, slots=True)
class ServingHttp:
    """Where HTTP is answered. `own`: by the ingress itself, since Serve runs no proxies."""

    host: str
    own: ListenOptions | None


def serving_http() -> ServingHttp:
    """As the running Serve has it."""
    from ray.serve.context import _get_global_client

    client = _get_global_client()
    if client is None:
        return ServingHttp("127.0.0.1", None)
    details = client.get_serve_details()
    options = ListenOptions.of(details["http_options"])
    return ServingHttp(options.host, options if details["proxy_location"] == ProxyLocation.Disabled else None)


def _board(raw: Mapping[str, Any], devices: Mapping[str, Device]) -> Any:
    return deployment(
        BoardDeployment,
        name="board",
        # If the head goes, so does everything; no other node should take the board with it.
        ray_actor_options={"num_cpus": 0, "resources": {HEAD: A_LITTLE}},
        max_ongoing_requests=MANY_CALLS,
        graceful_shutdown_timeout_s=1,
        logging_config=QUIET_LOGS,
    ).bind(raw, dict(devices))


def _claiming(slot: SlotSpec, claim: Claim) -> dict[str, Any]:
    """What each replica takes, in Serve's options."""
    if slot.stages > 1:
        bundles = bundles_of(claim, slot.stages)
        reserved = {"placement_group_bundles": bundles, "placement_group_strategy": STRATEGY}
        return {"ray_actor_options": {"num_cpus": 0}, **reserved}
    own = {
        "num_cpus": claim.cpus,
        "num_gpus": claim.gpus,
        "memory": claim.memory_bytes or None,
        "resources": dict(claim.custom),
    }
    return {"ray_actor_options": own}


def _slot(slot: SlotSpec, raw: Mapping[str, Any], device: Device, claim: Claim, board: Any) -> Any:
    return deployment(
        SlotDeployment,
        name=slot.name,
        **_claiming(slot, claim),
        max_ongoing_requests=MANY_CALLS,
        user_config=dict(fingerprint(raw, device)),
        autoscaling_config=AutoscalingConfig(
            # Also those that must always be there are the policy's to start, when there is room for them.
            min_replicas=0,
            max_replicas=slot.max_replicas,
            target_ongoing_requests=1,
            upscale_delay_s=0,
            downscale_delay_s=0,
            downscale_to_zero_delay_s=0,
        ),
        request_router_config=RequestRouterConfig(request_router_class=ROUTER),
        graceful_shutdown_timeout_s=DRAIN_WAIT_S,
        health_check_period_s=HEALTH_CHECK_S,
        graceful_shutdown_wait_loop_s=DRAIN_POLL_S,
        logging_config=QUIET_LOGS,
    ).bind(raw, device.value, board)


def _ingress(
    config: ServingConfig, raw: Mapping[str, Any], board: Any, slots: Mapping[str, Any], http: ServingHttp
) -> serve.Application:
    count, resource = config.ingress.replicas, config.ingress.resource
    ingress = deployment(
        serve.ingress()(IngressDeployment),
        name="ingress",
        **({"autoscaling_config": ONE_PER_NODE} if count == EVERY_NODE else {"num_replicas": count}),
        ray_actor_options={"num_cpus": 0, "resources": {resource: A_LITTLE} if resource else {}},
        # A new one answers before the one that it replaces is stopped.
        max_surge_percent=100,
        max_ongoing_requests=MANY_CALLS,
        graceful_shutdown_timeout_s=INGRESS_CLOSE_S + (INGRESS_DRAIN_S if http.own is None else REPLACED_DRAIN_S),
        graceful_shutdown_wait_loop_s=DRAIN_POLL_S,
        logging_config=QUIET_LOGS,
    )
    application: serve.Application = ingress.bind(raw, board, dict(slots), http.own)
    return application
