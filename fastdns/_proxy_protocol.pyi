def read_proxy_header(octets: bytes) -> tuple[int, bytes | None, int]:
    """Return the length of the header at the beginning, and the client's address and port.

    The length is 0 if the header is not whole. The address has 16 bytes; None: the proxy does not
    say whose connection it is. ValueError: these bytes do not begin with a header.
    """
