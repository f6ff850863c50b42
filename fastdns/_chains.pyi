from ._attempts import Attempts

class Chains(Attempts):
    """Questions whose answers may come from several groups."""
