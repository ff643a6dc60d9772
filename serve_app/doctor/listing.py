"""What `flm list --json` says. Pure."""

import json


def installed(output: str) -> frozenset[str]:
    """Tags, each of family and size. Other lines may stand before the JSON; what cannot be read names none."""
    try:
        told = json.loads(output[output.index("{") :])
        return frozenset(str(one["name"]) for one in told["models"] if one.get("installed", True))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return frozenset()
