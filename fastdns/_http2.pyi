class Http2Server:
    """One connection, for Python."""

    def __init__(self) -> None: ...
    def feed(self, octets: bytes | bytearray | memoryview, *, now: float = 1.0) -> bool:
        """Read what came from the client; return False if the next `drain` ends the connection."""

    def next(self) -> tuple[int, int, bytes, str, str] | None:
        """Return (id, problem, message, client, forwarded) of the next request, or None."""

    def respond(
        self, id: int, body: bytes | None = None, *, status: int = 200, max_age: int = -1
    ) -> None:
        """Answer a request. Nothing happens if its stream has ended."""

    def drain(self) -> tuple[bytes, bool]:
        """Return (bytes up to the end of one response, whether there may be more)."""

    def go_away(self, *, is_last: bool = False) -> None:
        """Tell the client to open no more streams; the last word ignores those that it opens."""

    @property
    def open(self) -> int: ...
    @property
    def is_over(self) -> bool: ...
    @property
    def unsent(self) -> int: ...
    @property
    def partial_since(self) -> float: ...
