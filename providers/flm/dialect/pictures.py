"""Pictures for FastFlowLM, which skips in silence those that it cannot read."""

import base64
import binascii
import re

from providers.errors import InvalidRequest, UnsupportedRequest

_DATA = re.compile(r"data:(?P<kind>[^;,]*)(;[^,]*)?;base64,", re.IGNORECASE)
_BEGINNINGS = {"png": b"\x89PNG\r\n\x1a\n", "jpeg": b"\xff\xd8\xff"}
_INSTEAD = "send it as a data: URL of a PNG or JPEG, in base64."


def picture(param: str, url: str) -> str:
    """The URL as FLM knows it. Raises `InvalidRequest`."""
    data = _DATA.match(url)
    if data is None:
        raise UnsupportedRequest(f"A picture's URL cannot be fetched here: {_INSTEAD}", param, "unsupported_image_url")
    encoded = url[data.end() :]
    try:
        content = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        raise InvalidRequest(f"A picture's base64 is broken: {_INSTEAD}", param, "invalid_image") from None
    for kind, beginning in _BEGINNINGS.items():
        if content.startswith(beginning):
            return f"data:image/{kind};base64,{encoded}"
    message = f"A picture of type '{data['kind']}' is not supported: {_INSTEAD}"
    raise UnsupportedRequest(message, param, "unsupported_image_type")
