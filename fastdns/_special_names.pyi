from ._answer import Answer

def special_answer(key: bytes) -> Answer | None:
    """Return the answer of fastdns to the question of this key; None: it is an ordinary name."""
