from collections.abc import Callable
from typing import NamedTuple

from ._flights import Flights
from ._groups import Group
from ._questions import Questions
from ._upstream import Upstream

class Event(NamedTuple):
    """What becomes of a question; `number`: an RCODE, an errno or the number of a group.

    `what`: asked, replied, truncated, lame, useless (the reply), late (no reply in time), failed,
    unsent, forged (the reply, by its addresses), followed: a chain leads to a name of another
    group, whose `key` is asked for, or compared: whether the name has IPv4 addresses.
    """

    what: str
    upstream: Upstream | None
    key: bytes
    is_stream: bool
    has_opt: bool
    sendings: int
    number: int
    seconds: float

class Attempts(Questions):
    """Questions, and their way through the upstreams of their groups."""

    trace: Callable[[Event], object] | None
    @property
    def flights(self) -> Flights: ...
    @property
    def group(self) -> Group: ...
    def add_group(self, group: Group) -> None: ...
