"""What clients ask over connections, in frames or over HTTP, and how their answers go back."""

from collections.abc import Callable

from ._fastpath import FastPath
from ._stream import Streams

class StreamQueries(Streams):
    """The queries of connections, for `fastpath`, and the answers to them."""

    def __init__(
        self,
        fastpath: FastPath,
        on_busy: Callable[[], object] | None = None,
        new_http1: Callable[[bool], object] | None = None,
    ) -> None: ...
    @property
    def nameless(self) -> int: ...
    @property
    def fastpath(self) -> FastPath: ...
