"""A URL in place of a name is bad use: one line names the host to try."""

from __future__ import annotations

from urllib.parse import urlsplit

from ..config.text import describe, escape


def check_no_url(text: str) -> None:
    """Check that a name is not written as a URL. ValueError: it is."""
    if "://" not in text:
        return
    try:
        host = urlsplit(text).hostname
    except ValueError:  # http://[x
        host = None
    remedy = f" (try {escape(host)})" if host else ""
    raise ValueError(f"{describe(text)} is a URL, not a name{remedy}")
