from ._answer import Answer

def respond(
    query: bytes,
    answer: Answer | None,
    age: int = 0,
    *,
    limit: int = 65535,
    pad_to: int = 0,
    keepalive: int = 0,
) -> bytes:
    """Return the response to a query over a connection, with an answer of that age; None: SERVFAIL.

    It has at most `limit` bytes. A client that has padded its query gets a multiple of `pad_to`;
    one that asks how long its connection may be idle is told `keepalive`, in units of 100 ms.
    ValueError: the message is not a query that has an answer.
    """
