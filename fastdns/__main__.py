"""The command fastdns, also as `python -m fastdns`.

A daemon starts without the libraries that only other commands need: it would keep them for good.
"""

import sys
from importlib import import_module


def main() -> int:
    """Run the command line; return its exit status."""
    if sys.argv[1:2] == ["serve"]:
        status: int | None = import_module("fastdns.server.command").main(sys.argv[2:])
        if status is not None:
            return status
    done: int = import_module("fastdns.cli").main()
    return done


if __name__ == "__main__":
    sys.exit(main())
