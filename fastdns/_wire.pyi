def smallest_ttl_of(response: bytes) -> int | None:
    """Return for how many seconds a response may be kept by HTTP (RFC 8484 section 5.1).

    None: not at all, because it has no record, is truncated, or is a failure.
    """
