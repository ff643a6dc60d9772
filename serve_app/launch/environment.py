"""The environment in which `hal0 up` starts Ray and Serve. Whatever the user sets himself wins."""

import json
from collections.abc import Mapping

from serve_app.launch.record import MARK

FAST_PATH = {
    # In HAProxy mode an ingress replica waits this long for load balancers before it stops: 30 s by default.
    "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "1",
    # On the replica's own loop an answer waits for its reader in HAProxy mode; from another thread, Serve queues all of
    # it without a bound.
    "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "0",
    # Handles have a thread with a loop of its own otherwise, and every lease hops to it and back.
    "RAY_SERVE_RUN_ROUTER_IN_SEPARATE_LOOP": "0",
    # What a replica imports: workers have it before they are needed (`warm_workers.py`).
    "RAY_preload_python_modules": "serve_app.preload",
    # Ray starts its workers at niceness 15, and engines would inherit that.
    "RAY_worker_niceness": "0",
    # Workers rename themselves over their environment otherwise, and could not be known by it any more.
    "SPT_NOENV": "1",
    "PYTHONUNBUFFERED": "1",
}
LOST_NODES = {
    # A node that has lost power or its network says nothing. Ray's head asks it this often, and gives it up after this
    # many answers in a row that did not come in time: some 12 s. With Ray's own values it takes a minute.
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "3000",
    "RAY_health_check_failure_threshold": "3",
    # gRPC has the kernel give up a connection that acknowledges nothing for so long (TCP_USER_TIMEOUT). With Ray's two
    # minutes whoever answers a call of such a node, the board above all, stands still as long.
    "RAY_grpc_client_keepalive_timeout_ms": "8000",
}
"""For every node of a cluster."""
UNWATCHED = {
    # Serve's and Ray's logs are in files as well, and nobody forwards what workers print.
    "RAY_SERVE_LOG_TO_STDERR": "0",
}
UNCOLLECTED = {
    "RAY_USAGE_STATS_ENABLED": "0",
    # Figures and the history of tasks are for the dashboard alone.
    "RAY_enable_metrics_collection": "0",
    "RAY_task_events_report_interval_ms": "0",
}


def driver_environment(
    environ: Mapping[str, str], resources: Mapping[str, float], mark: str, dashboard: bool, verbose: bool
) -> dict[str, str]:
    """`resources` are what Ray is told of this machine."""
    own = dict(FAST_PATH)
    if not dashboard:
        own |= UNCOLLECTED
    if not verbose:
        own |= UNWATCHED
    declared = {"RAY_OVERRIDE_RESOURCES": json.dumps(dict(resources))} if resources else {}
    return own | dict(environ) | declared | {MARK: mark}
