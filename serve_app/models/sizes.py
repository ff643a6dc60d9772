"""Bytes as people read them."""

UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def shown_bytes(count: float) -> str:
    """Such as `812 B` or `4.1 GiB`."""
    for unit in UNITS[:-1]:
        if count < 1024:
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} {UNITS[-1]}"
