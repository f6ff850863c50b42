"""Clients of views that no device can be: what they would ask for is not served."""

from __future__ import annotations

from collections.abc import Iterator

from .._certificate import Certificate
from ..config.schema import Config
from ..config.text import quote
from ..config.values import Identity


def out_of_reach(config: Config, certificate: Certificate | None) -> Iterator[tuple[str, str]]:
    """Yield a line for each "tls:NAME" and "doh:WORD" that cannot be reached, and what helps.

    `certificate`: of the service; None: it is not known.
    """
    for number, view in enumerate(config.view):
        for client in view.clients:
            if isinstance(client, Identity):
                problem, do = _problem(config, client, certificate)
                if problem:
                    key = f"view[{number}].clients"
                    yield f"{key}: no device can be {quote(str(client))}: {problem}", do


def _problem(config: Config, client: Identity, certificate: Certificate | None) -> tuple[str, str]:
    listen = config.listen
    if client.kind == "doh":
        do = "set listen.https (docs/encryption.md)"
        return ("", "") if listen.https else ("listen.https is empty", do)
    if not listen.is_encrypted:
        return "listen.tls and listen.https are empty", "set listen.tls (docs/encryption.md)"
    if not listen.certificate:
        # A proxy that ends HTTPS does not pass on the name of the server.
        return "listen.certificate is empty", "set listen.tls with a certificate for that name"
    if certificate is not None and not certificate.covers(client.text):
        names = ", ".join(certificate.names) or "no name"
        do = f"get a certificate that is also for {quote(client.text)}"
        return f"the certificate is for {names}", do
    return "", ""
