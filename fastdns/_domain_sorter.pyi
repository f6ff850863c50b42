from collections.abc import Callable

class DomainSorter:
    """Collects millions of domains, each with a value, and writes them as DomainSet reads them."""

    def add_domain(self, name: bytes, value: int) -> None: ...
    def write(self, write: Callable[[memoryview | bytes | bytearray], object]) -> int: ...
