"""Somebody on the network who has no business with a port, and tries."""

import socket

ANSWER_TIMEOUT_S = 5.0
HTTP2_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
"""With an empty SETTINGS frame: https://www.rfc-editor.org/rfc/rfc9113#section-3.4"""
SETTINGS_FRAME = 4


def answer_to(address: str, port: int, *pieces: bytes) -> bytes:
    """All that comes back until the other side closes. Raises TimeoutError if it says nothing and does not close."""
    heard = b""
    with socket.create_connection((address, port), timeout=ANSWER_TIMEOUT_S) as connection:
        try:
            for piece in pieces:
                connection.sendall(piece)
            while data := connection.recv(65536):
                heard += data
        except ConnectionError:
            pass
    return heard


def get(path: str, authorization: str = "") -> bytes:
    header = f"Authorization: {authorization}\r\n" if authorization else ""
    return f"GET {path} HTTP/1.1\r\nHost: x\r\n{header}\r\n".encode()


def speaks_http2(address: str, port: int) -> bool:
    """As gRPC does, and no engine."""
    with socket.create_connection((address, port), timeout=ANSWER_TIMEOUT_S) as connection:
        connection.sendall(HTTP2_PREFACE)
        try:
            head = connection.recv(9, socket.MSG_WAITALL)
        except (ConnectionError, TimeoutError):
            return False
    return len(head) == 9 and head[3] == SETTINGS_FRAME
