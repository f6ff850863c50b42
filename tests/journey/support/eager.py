"""fastdns whose commands do not stand back for others: beside other tests they would starve."""

from __future__ import annotations

import sys

from fastdns.cli import main
from fastdns.machine import priority

if __name__ == "__main__":
    priority._set_priority = lambda *_: None
    sys.exit(main())
