def target_of(path: bytes) -> tuple[int, str, bytes | None]:
    """Return (status, client, message) of a request target.

    The message is None without dns=, the status 0 if all is well.
    """

def is_message_type(content_type: bytes) -> bool:
    """Return True for application/dns-message, with or without parameters."""

def last_forwarded(value: bytes) -> bytes:
    """Return those addresses of an X-Forwarded-For that count: the last ones."""

def reason_of(status: int) -> bytes:
    """Return the text that goes with an HTTP status."""
