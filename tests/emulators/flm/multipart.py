"""Forms, as the server takes them apart."""

import re


def parts(body: bytes, boundary: str) -> dict[str, bytes]:
    """Contents by field. The boundary is taken with all that follows it: one in quotes is not found in the body."""
    found = {}
    _preamble, *sections = body.split(b"--" + boundary.encode())
    for section in sections:
        head, _, content = section.partition(b"\r\n\r\n")
        name = re.search(rb'name="([^"]*)"', head)
        if name is not None:
            found[name[1].decode(errors="replace")] = content.removesuffix(b"\r\n")
    return found
