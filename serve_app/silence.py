"""Connections between machines: one of them may lose its power or its cable, and says nothing then."""

import socket

SILENT_S = 10
"""For as long as nothing that was sent is acknowledged. TCP by itself would go on for a quarter of an hour."""
PROBE_AFTER_S, PROBE_EVERY_S, PROBES = 4, 2, 3
"""While nothing is being sent. An engine that computes for minutes answers probes all the while: its kernel does."""


def give_up_on_silence(connection: socket.socket) -> None:
    """Break it once its other end has been silent for about `SILENT_S`. Man page: tcp(7)."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, PROBE_AFTER_S)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, PROBE_EVERY_S)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, PROBES)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, SILENT_S * 1000)
