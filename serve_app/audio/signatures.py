"""What a file is that is no audio, by how it begins: for the message to whoever sent it. Pure."""

SIGNATURES = (
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"GIF8", "a GIF image"),
    (b"%PDF", "a PDF document"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"#EXTM3U", "a playlist"),
    (b"RIFF", "a RIFF file that is broken or of another kind"),
    (b"OggS", "a broken Ogg file"),
    (b"fLaC", "a broken FLAC file"),
    (b"ID3", "a broken MP3 file"),
    (b"\x1aE\xdf\xa3", "a broken WebM or Matroska file"),
)
MP4_MARK = b"ftyp"
HEAD_BYTES = 512
SHOWN_BYTES = 8


def told(head: bytes) -> str:
    """`head`: the first `HEAD_BYTES`."""
    for signature, name in SIGNATURES:
        if head.startswith(signature):
            return name
    if head[4:8] == MP4_MARK:
        return "a broken MP4 file, perhaps one that is not complete"
    if not any(head):
        return "nothing but zeros" if head else "empty"
    if _is_text(head):
        return "text"
    return f"unknown; it begins with the bytes {head[:SHOWN_BYTES].hex(' ')}"


def _is_text(head: bytes) -> bool:
    # The head may end within a character.
    text = head.decode(errors="ignore")
    return len(text.encode()) > len(head) - 4 and all(one.isprintable() or one in "\r\n\t\ufeff" for one in text)
