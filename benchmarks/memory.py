"""Scenario "memory": the memory of a server with all names in its cache, without load.

PSS: a page that several processes have counts for each by its share, so the sum over all of the
server's processes is what its end frees. A library that other programs also use, like another
Python, counts for less, so nothing else should run. Answers on their way to the disk are included;
the page cache, which the kernel can drop, only as far as it is mapped.
"""

from session import Session


def measure(session: Session) -> dict[str, int]:
    return session.server.memory()
