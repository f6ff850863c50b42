"""fastdns whose supervisor takes 2 s of silence for a hang."""

from __future__ import annotations

import sys

from fastdns.cli import main
from fastdns.server import watchdog

if __name__ == "__main__":
    watchdog.LOOK_SECONDS, watchdog.SILENT_SECONDS = 0.2, 2.0
    sys.exit(main())
