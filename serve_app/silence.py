"""Connections between machines: one of them may lose its power or its cable, and says nothing then.

TCP by itself would go on for a quarter of an hour. TCP_USER_TIMEOUT shortens that, but also ends connections whose
other end is well and does not read for a while (measured on Linux 6.18, as tcp(7) says): an engine that reads sound as
it recognizes it, an ingress whose client has stopped reading. So what is not acknowledged is looked at here.
"""

import asyncio
import ipaddress
import socket
import struct
from collections.abc import Callable
from typing import Any

PROBE_AFTER_S, PROBE_EVERY_S, PROBES = 4, 2, 3
"""While nothing is being sent. An engine that computes for minutes answers probes all the while: its kernel does."""
SILENT_S = 5.0
"""Since the last sign of life, while what was sent is being sent again. The kernel gives up at its next try, after at
most as much time again."""
LOOK_S = 1.0
TCP_INFO_HEAD = struct.Struct("=2x2B4x16xI28xI")
"""Of `struct tcp_info` in linux/tcp.h: retransmits, probes, unacked, last_ack_recv in ms."""
UNANSWERED_PROBES = 2
"""Probes of a window that is closed: who is well answers each."""

AddressInfo = tuple[int, int, int, str, tuple[Any, ...]]
"""As `getaddrinfo` gives it."""


def give_up_on_silence(transport: asyncio.BaseTransport) -> None:
    """Break it once its other end, if on another machine, has been silent for about 10 s: its protocol is told of a
    timeout."""
    peer = transport.get_extra_info("peername")
    if peer is not None and not _is_loopback(peer):
        watch_for_silence(transport.get_extra_info("socket"), transport.is_closing)


def socket_for(address: AddressInfo) -> socket.socket:
    """The same for a connection that is to be made on the running event loop."""
    family, kind, protocol, _, peer = address
    made = socket.socket(family, kind, protocol)
    if not _is_loopback(peer):
        watch_for_silence(made, lambda: made.fileno() < 0)
    return made


def watch_for_silence(connection: socket.socket, is_closed: Callable[[], bool]) -> None:
    """Until it is closed. Man page: tcp(7)."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, PROBE_AFTER_S)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, PROBE_EVERY_S)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, PROBES)
    loop = asyncio.get_running_loop()

    def look() -> None:
        if is_closed():
            return
        if is_silent(connection):
            # From now on no answer is waited for: the kernel breaks the connection as soon as it would send again.
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 1)
        else:
            loop.call_later(LOOK_S, look)

    loop.call_later(LOOK_S, look)


def is_silent(connection: socket.socket) -> bool:
    """Whether the other end has acknowledged nothing for `SILENT_S`, although it was asked to more than once."""
    info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, TCP_INFO_HEAD.size)
    retransmits, probes, unacked, last_ack_ms = TCP_INFO_HEAD.unpack(info)
    unanswered = (unacked and retransmits) or probes >= UNANSWERED_PROBES
    return bool(unanswered and last_ack_ms >= SILENT_S * 1000)


def _is_loopback(peer: tuple[Any, ...]) -> bool:
    return ipaddress.ip_address(peer[0]).is_loopback
