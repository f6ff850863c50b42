from ._domains import DomainHashes

def read_domains(
    text: bytes, key: bytes, most_problems: int
) -> tuple[DomainHashes, int, list[tuple[int, str, str]]]: ...
