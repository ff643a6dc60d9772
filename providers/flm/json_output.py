"""What a command of `flm` writes with `--json`. Pure."""

import json

from providers.base import JsonObject


def first_object(output: str) -> JsonObject:
    """Warnings and other lines may stand around it. Raises ValueError if there is none."""
    begin = output.find("{")
    if begin < 0:
        raise ValueError("no JSON object")
    try:
        found: JsonObject = json.JSONDecoder().raw_decode(output, begin)[0]
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    return found
