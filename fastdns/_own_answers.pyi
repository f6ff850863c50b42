from ._answer import Answer
from ._policy import Policy

def own_answer(policy: Policy, key: bytes) -> tuple[Answer | None, bytes | None]: ...
