"""Processes of the supervisor that do not end as they should."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import pytest

# Nobody can make a process wait for a device on purpose. One that a debugger holds is as good: its
# end is not told to its parent before the debugger has seen it.
HELD = """
import ctypes, os, select, signal, sys, time
from fastdns.server.children import Child
from fastdns.server.loop import Loop

SEIZE = 0x4206
libc = ctypes.CDLL(None, use_errno=True)
child = Child("worker", lambda order, ready: os.read(order, 1), Loop())
ready, told = os.pipe()
end, ends = os.pipe()
debugger = os.fork()
if debugger == 0:
    os.close(ends)
    status = libc.ptrace(SEIZE, child.pid, None, None)
    os.write(told, b"n" if status else b"y")
    os.read(end, 1)
    os._exit(0)
if os.read(ready, 1) == b"n":
    sys.exit(77)
began = time.monotonic()
DO
os.close(ends)
os.waitpid(debugger, 0)
while not child.reap():
    time.sleep(0.01)
print("code", child.code)
"""


def run(what: str) -> str:
    script = HELD.replace("DO", textwrap.dedent(what))
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=False
    )
    if done.returncode == 77:
        pytest.skip("nobody may debug here")
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may debug any process")
def test_process_that_does_not_end_is_left_and_reaped_when_it_does() -> None:
    said = run(
        """
        print("ended", child.reap_killed(), "stuck", child.is_stuck)
        print("in time", time.monotonic() - began < 5)
        """
    )
    assert said.split("\n")[:3] == ["ended False stuck True", "in time True", "code -9"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may debug any process")
def test_stop_does_not_wait_for_a_process_that_does_not_end() -> None:
    said = run(
        """
        os.kill(child.pid, signal.SIGSTOP)
        child.release(0.2)
        child.await_end()
        print("in time", time.monotonic() - began < 5, child.is_stuck)
        """
    )
    assert said.split("\n")[:2] == ["in time True True", "code -9"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may debug any process")
def test_stop_does_not_wait_for_one_that_is_known_not_to_end() -> None:
    said = run(
        """
        child.release()
        child.reap_killed()
        signal.alarm(5)
        child.await_end()
        print("in time", child.is_stuck)
        """
    )
    assert said.split("\n")[:2] == ["in time True", "code -9"]
