"""Which replicas a changed configuration leaves alone: those of slots that are as they were.

To Serve, an application is new as soon as anything under its `args` is, and all of its replicas are replaced: a model
of thirty gigabytes would be loaded anew because another slot has a new alias. So the one method by which Serve tells
whether a replica must go is wrapped, in the controller's process, where the policy runs (as in `steering.py`). Slots
carry a fingerprint of what their replicas are made of; where it is the same, the rest of Serve's comparison decides.
Read in ray.serve._private.version (Ray 2.60).
"""

import copy
import functools
import hashlib
import json
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from providers.devices import Device

KEY = "hal0_fingerprint"
OF_THE_POLICY = frozenset(
    {
        "description",
        "idle_after_s",
        "load_wait_s",
        "max_queued",
        "max_replicas",
        "min_replicas",
        "pin",
        "preload",
        "priority",
        "progress_as_reasoning",
        "request_timeout_s",
        "unload_after_s",
    }
)
"""Keys of a slot that no replica of it reads."""

Fingerprint = Mapping[str, str]
"""Serve's `user_config`: what it hands to a replica's `reconfigure`."""


def fingerprint(raw_slot: Mapping[str, Any], device: Device) -> Fingerprint:
    made_of = {key: value for key, value in raw_slot.items() if key not in OF_THE_POLICY}
    text = json.dumps([made_of, device.value], sort_keys=True)
    return {KEY: hashlib.sha256(text.encode()).hexdigest()}


def leave_unchanged_alone() -> None:
    """Wraps Serve's method. May be called again."""
    version: Any = import_module("ray.serve._private.version").DeploymentVersion
    original = version.requires_actor_restart
    if not hasattr(original, "__wrapped__"):
        version.requires_actor_restart = _sparing(original)


def _sparing(original: Any) -> Any:
    @functools.wraps(original)
    def requires_actor_restart(before: Any, after: Any) -> bool:
        mark = _mark(before)
        if mark is not None and mark == _mark(after):
            after = copy.copy(after)
            after.code_version = before.code_version
        restarts: bool = original(before, after)
        return restarts

    return requires_actor_restart


def _mark(version: Any) -> str | None:
    config = version.deployment_config.user_config
    found = config.get(KEY) if isinstance(config, Mapping) else None
    return found if isinstance(found, str) else None
