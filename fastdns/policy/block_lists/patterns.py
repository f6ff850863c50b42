"""Regular expressions of block lists, as they are applied to names."""

from __future__ import annotations

import re
import warnings


def compile_pattern(text: str) -> re.Pattern[str]:
    """Return the expression, for `search` in a name in lower case without the dot at its end.

    ValueError with one phrase if it is not an expression.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what a later Python may read otherwise
            return re.compile(text, re.IGNORECASE | re.ASCII)
    except (re.error, ValueError, OverflowError, RecursionError) as error:
        raise ValueError(f"is not a regular expression ({error})") from None
