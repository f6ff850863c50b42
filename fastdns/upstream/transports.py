"""What a transport's class does. config/transports.py has the list of them."""

from __future__ import annotations

import socket
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Protocol, cast

from ..config.schema import Address, Server

if TYPE_CHECKING:
    from .._flights import Attempt


class Channel(Protocol):
    """Asks one upstream by a stream, for C, to which it says `received` or `failed` of an attempt.

    `dial` is for commands, which ask one question with frames of two octets and wait for it.
    """

    def __init__(self, server: Server) -> None: ...

    def send(self, attempt: Attempt) -> None:
        """Send it, or once more: in another form."""

    def forget(self, attempt: Attempt) -> None:
        """Nobody waits for it any more."""

    def late(self, attempt: Attempt) -> None:
        """It ran out of time."""

    def close(self) -> None:
        """This upstream is asked no more: what is under way fails."""

    @staticmethod
    def dial(address: Address, timeout: float) -> socket.socket:
        """Return a blocking connection. OSError: there is none, in time or at all."""


def channel_class(server: Server) -> type[Channel]:
    """Return the class by which this upstream is asked."""
    return cast("type[Channel]", resolve_name(server.kind.channel))
