"""Connections of clients as C structs behind one epoll."""

from ._outlet import Outlet

PIPELINE_MAX: int
"""Queries of a connection that wait for an answer; with more, reading stops."""
UNWRITTEN_MAX_IN_ALL: int
CONNECTIONS_A_CLIENT: int
CONNECTIONS_MAX: int
IDLE_SECONDS: float
FRAME_SECONDS: float

class Streams(Outlet):
    """The connections of a process."""

    @property
    def descriptor(self) -> int: ...
    @property
    def count(self) -> int: ...
    @property
    def strangers(self) -> int: ...
    @property
    def handshakes(self) -> int: ...
    @property
    def ending(self) -> int: ...
    @property
    def unwritten(self) -> int: ...
