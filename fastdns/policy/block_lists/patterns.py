"""Regular expressions of block lists, as they are applied to names."""

from __future__ import annotations

import re
import warnings

# Classes of POSIX, which Python would read as single characters.
_POSIX = {
    "[:alpha:]": "a-zA-Z",
    "[:digit:]": "0-9",
    "[:alnum:]": "a-zA-Z0-9",
    "[:lower:]": "a-z",
    "[:upper:]": "A-Z",
    "[:xdigit:]": "0-9a-fA-F",
    "[:space:]": r"\s",
}


def compile_pattern(text: str) -> re.Pattern[str]:
    """Return the expression, for `search` in a name in lower case without the dot at its end.

    ValueError with one phrase if it is not an expression.
    """
    for name, characters in _POSIX.items():
        text = text.replace(name, characters)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what a later Python may read otherwise
            return re.compile(text, re.IGNORECASE | re.ASCII)
    except (re.error, ValueError, OverflowError, RecursionError) as error:
        raise ValueError(f"is not a regular expression ({error})") from None
