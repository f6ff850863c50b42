"""The client that a proxy names in X-Forwarded-For."""

from ._clients import Access

def client_of_forwarded(addresses: bytes, proxies: Access) -> bytes | None: ...
