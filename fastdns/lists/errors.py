"""Why a list was not renewed."""

from __future__ import annotations

from ..errors import FastdnsError


class FetchError(FastdnsError):
    """A list could not be had; the text goes on after the name of the list: "answers 404"."""


class DamagedCopy(FetchError):
    """A copy on disk cannot be read."""
