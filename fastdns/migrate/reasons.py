"""Why settings of another program are not converted, and what to do instead."""

from __future__ import annotations

import re
from collections.abc import Mapping

import attrs

# Words that both programs need.
NOT_HERE = "is not in this version of fastdns"
ENCRYPTED = f"DNS over TLS to upstreams {NOT_HERE}"
SERVICE = "the service of fastdns has its own user, directories and log"
DNSSEC = (
    "fastdns does not validate DNSSEC; name resolvers that do in upstream.servers, and set "
    "upstream.trust_ad if you trust the path to them"
)
QUERY_LOG = f"a query log {NOT_HERE}; fastdns top shows the busiest names"
INSIDE = "fastdns sizes its sockets and tables itself"
UDP_SIZE = "fastdns uses 1232 bytes over UDP, and TCP for more"
PORTS = "fastdns asks from random ports above 16383"
ANSWERS = "clients get answers as the upstream gave them"
VERSION = "fastdns tells its version to clients that may ask"
NO_KEY = "fastdns has no key for it"


@attrs.frozen
class Reasons:
    """Reasons, each with the settings that it is for: words of a regular expression."""

    not_needed: Mapping[str, str]  # nothing is lost
    left_out: Mapping[str, str]
    unknown: str

    def of(self, setting: str) -> tuple[bool, str]:
        """Return whether nothing is lost without the setting, and why it is not converted."""
        for is_needless, reasons in ((True, self.not_needed), (False, self.left_out)):
            for why, words in reasons.items():
                if re.fullmatch("|".join(words.split()), setting):
                    return is_needless, why
        return False, self.unknown

    def knows(self, setting: str) -> bool:
        """Whether it is a setting of the program, as far as fastdns can tell."""
        return self.of(setting)[1] != self.unknown
