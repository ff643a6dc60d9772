"""Why a request need not wait: what the board last said of its slot. Pure."""

from collections.abc import Mapping
from typing import Any

from serve_app.errors import LoadFailed, NoRoom, ServingError, SlotUnplaceable
from serve_app.lifecycle import SlotState


def refusal(view: Mapping[str, Any], now: float) -> ServingError | None:
    """`view` is the slot's last event; `now` in Unix seconds. None: a request may wait for the slot."""
    name = str(view["name"])
    waiting = view.get("waiting")
    if waiting is not None and waiting["hopeless"]:
        return NoRoom(name, waiting["reason"])
    error = view.get("last_error")
    if view["state"] != SlotState.ERROR or error is None:
        return None
    if error["code"] == SlotUnplaceable.code:
        return SlotUnplaceable(name, error["detail"])
    next_try = error["next_try"]
    if next_try is None or next_try <= now:
        return None
    return LoadFailed(name, error["code"], error["detail"], tuple(error["last_lines"]), max(1.0, next_try - now))
