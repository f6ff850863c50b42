import mmap
from typing import Any

SECRETS_OCTETS: int

class Cookies:
    """Checks the cookies of clients, and makes new ones."""

    def __init__(self, memory: mmap.mmap | None = None) -> None: ...
    def use(self, current: bytes, former: bytes) -> None: ...
    def answer(self, cookie: bytes, client: tuple[Any, ...], now: int) -> tuple[bytes, bool]: ...
