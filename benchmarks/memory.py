"""Scenario "memory": what a server takes that has all names in its cache and was never pressed."""

from session import Session


def measure(session: Session) -> dict[str, int]:
    return session.server.memory()
