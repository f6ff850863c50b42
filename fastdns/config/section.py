"""What every table of the configuration is."""

from collections.abc import Collection, Iterator

import attrs

from ..errors import ConfigError


@attrs.frozen
class Section:
    """A table of the configuration."""

    def contradictions(self, wrong: Collection[str] = ()) -> Iterator[ConfigError]:
        """Yield errors between values that are each valid; keys relative to this table.

        `wrong`: keys with invalid values; they have their default here, if they have one.
        """
        return iter(())
