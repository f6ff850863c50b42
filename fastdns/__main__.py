"""`python -m fastdns` is the command fastdns."""

import sys

from fastdns.cli import main

sys.exit(main())
