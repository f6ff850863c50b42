"""What a transport's class must do. config/transports.py lists them."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Protocol, cast

from ..config.transports import load_class
from ..config.values import Address, Server

if TYPE_CHECKING:
    from .._flights import Attempt


class Channel(Protocol):
    """Asks one upstream over a stream, and tells C `received` or `failed` for each attempt.

    `dial` is for commands, which ask one question with frames of two bytes and wait for it.
    """

    def __init__(self, server: Server) -> None: ...

    def send(self, attempt: Attempt) -> None:
        """Send it, or send it again in another form."""

    def forget(self, attempt: Attempt) -> None:
        """No client waits for it any more."""

    def late(self, attempt: Attempt) -> None:
        """It timed out."""

    def close(self) -> None:
        """This upstream is not used any more: its queries fail."""

    @staticmethod
    def dial(address: Address, timeout: float) -> socket.socket:
        """Return a blocking connection. OSError: impossible, or not in time."""


def channel_class(server: Server) -> type[Channel]:
    """Return the class that asks this upstream."""
    return cast("type[Channel]", load_class(server.kind.channel))
