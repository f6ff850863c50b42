from ._flights import Flights
from ._groups import Group
from ._questions import Questions

class Attempts(Questions):
    """Questions, and their way through the upstreams of their groups."""

    @property
    def flights(self) -> Flights: ...
    @property
    def group(self) -> Group: ...
    def add_group(self, group: Group) -> None: ...
