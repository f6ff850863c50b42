"""Scenario "start": from exec to the first answer that can only come from the disk cache."""

import os
import random
import time
from pathlib import Path
from statistics import median
from typing import Any

from processes import START_SECONDS, BenchmarkError, ask
from stock import Stock, Stocks, stored_address, stored_name

TIMES = 3  # a round, of each kind


def measure(stocks: Stocks, _scratch: Path) -> dict[str, Any]:
    """Start with few entries and with many in turn; then with many, the file not in memory."""
    seconds: dict[str, list[float]] = {"many": [], "few": [], "cold": []}
    for _ in range(TIMES):
        seconds["few"].append(first_answer(stocks.few))
        seconds["many"].append(first_answer(stocks.many))
    for _ in range(TIMES):
        leave_memory(stocks.many)
        seconds["cold"].append(first_answer(stocks.many))
    found: dict[str, Any] = {f"{kind}_ms": median(times) * 1000 for kind, times in seconds.items()}
    return found | {"seconds": seconds, "ratio": found["many_ms"] / found["few_ms"]}


def first_answer(stock: Stock) -> float:
    """Return the seconds until one of the stored answers came; nsd's would be another address."""
    number = random.randrange(stock.entries)
    name, address = stored_name(number), stored_address(number)
    began = time.monotonic()
    with stock.serve() as daemon:
        while not (answer := ask(daemon.port, name)):  # refused at once while nobody listens
            if time.monotonic() > began + START_SECONDS:
                raise BenchmarkError(f"no answer after a start\n{daemon.last_words()}")
            time.sleep(0.0005)
        took = time.monotonic() - began
        if address not in answer:
            raise BenchmarkError(f"{name} was not answered from disk: {answer.hex()}")
    return took


def leave_memory(stock: Stock) -> None:
    """Have the kernel forget what it holds of the file."""
    descriptor = os.open(stock.cache / "data.mdb", os.O_RDWR)
    try:
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)
