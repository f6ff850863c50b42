"""Scenario "memory": what a server takes that has all names in its cache and was never pressed.

PSS: a page that several processes have counts for each by its share, so that the sum over all of
the server's is what goes when it ends. A library that other programs use as well, as another
Python, counts for less: nothing else should run. What an answer takes on its way to the disk is in
it; the page cache, which the kernel takes back as it likes, only as far as it is mapped.
"""

from session import Session


def measure(session: Session) -> dict[str, int]:
    return session.server.memory()
