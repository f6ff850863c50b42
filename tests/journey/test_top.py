"""`fastdns top`, for a user at a terminal, and in a pipe."""

from __future__ import annotations

import fcntl
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fastdns._counters import Counters
from fastdns.browse.names import Key
from fastdns.counters import Pages

from .support.client import ask
from .support.daemon import Fastdns, address_of
from .support.false_upstream import FalseUpstream
from .support.terminal import Terminal

Start = Callable[..., Fastdns]
TOP = [sys.executable, "-m", "fastdns", "top"]
GONE = r"fastdns: the daemon \(pid \d+\) has ended\n"
HOST = b"\x04host\x04demo\x00"


class Stage:
    """The places of a daemon that does what a test says: it holds the lock, its pages lie there."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.run = directory / "run"
        self.run.mkdir(parents=True)
        self.pid = 4711
        self.busiest: list[tuple[str, float]] = []
        self.answer: Callable[[], bytes] = lambda: json.dumps(self.busiest).encode() + b"\n"
        self._asked = threading.Semaphore(0)
        self.start()

    def start(self) -> None:
        self.pid += 1
        self.counters: Counters = Pages.create(self.run / "counters", 3, time.time()).counters(2)
        with (self.run / "counters").open("r+b") as file:
            file.seek(16)
            file.write(self.pid.to_bytes(8, sys.byteorder))
        self.lock = (self.directory / "lock").open("w")
        fcntl.flock(self.lock, fcntl.LOCK_EX)
        self.lock.write(f"{self.pid}\n")
        self.lock.flush()

    def stop(self) -> None:
        self.lock.close()

    def start_keeper(self) -> None:
        """Answer on the keeper's socket from now on."""
        self.listening = socket.socket(socket.AF_UNIX)
        self.listening.bind(str(self.run / "keeper"))
        self.listening.listen()
        threading.Thread(target=self._keep, daemon=True).start()

    def wait_until_asked(self, times: int = 1) -> None:
        """Return when somebody has taken a reading since the last call, and asks the keeper."""
        for _ in range(times):
            assert self._asked.acquire(timeout=10)

    def _keep(self) -> None:
        while True:
            connection, _ = self.listening.accept()
            with connection, connection.makefile("rb") as lines:
                if re.fullmatch(rb"busiest \d+\n", lines.readline()):
                    self._asked.release()
                    connection.sendall(self.answer())


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    stage = Stage(tmp_path / "state")
    yield stage
    stage.stop()


def command(stage: Stage, interval: float = 0.2) -> list[str]:
    return [*TOP, "--state", str(stage.directory), "--interval", str(interval)]


def in_a_pipe(stage: Stage, between: Callable[[], None] = lambda: None) -> tuple[str, float]:
    """Its output in a pipe, and the seconds that it is about; `between` is done while it waits."""
    with subprocess.Popen(
        command(stage, 0.5), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        if hasattr(stage, "listening"):
            stage.wait_until_asked()
            between()
        output, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (0, "")
    assert "\x1b" not in output
    seconds = re.search(r"^the last (\d+\.\d) s: ", output, re.M)
    assert seconds, output
    return output, float(seconds[1])


def rows(output: str, title: str) -> dict[str, list[str]]:
    """The rows of the block with this title, by their first word, without units."""
    block = re.search(rf"^{title}\b.*\n((?:.+\n)*)", output, re.M)
    assert block, output
    lines = (re.split(r"  +", line) for line in block[1].splitlines())
    return {line[0]: line[1:] for line in lines}


# In a pipe


@pytest.mark.parametrize("interval", ["nan", "0", "-1", "inf"])
def test_interval_that_is_no_time_is_bad_use(interval: str) -> None:
    done = subprocess.run(
        [*TOP, "--interval", interval], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "Invalid value for '--interval'" in done.stderr
    assert "Traceback" not in done.stderr


def test_in_a_pipe_it_prints_what_happened_in_one_interval(stage: Stage) -> None:
    stage.start_keeper()
    stage.counters.add("cache_hits_total", 10**6)  # before: of no interest
    stage.counters.observe_hit(1.0, 10**6)

    def meanwhile() -> None:
        for name, amount in {
            "queries_udp_total": 9000,
            "queries_tcp_total": 1000,
            "cache_hits_total": 9000,
            "cache_misses_total": 1000,
            "disk_hits_total": 500,
            "cache_stale_total": 100,
            "responses_noerror_total": 7500,
            "responses_nxdomain_total": 2500,
        }.items():
            stage.counters.add(name, amount)
        stage.counters.set("cache_entries", 1234)
        stage.counters.set("cache_bytes", 3 << 20)
        stage.counters.set("disk_entries", 56789)
        stage.counters.set("disk_bytes", 100 << 20)
        stage.counters.observe_hit(0.000005, 9000)
        stage.counters.observe_miss(0.04)

    output, seconds = in_a_pipe(stage, meanwhile)
    assert 0.5 <= seconds < 5
    assert output.startswith("fastdns ")
    assert f"pid {stage.pid}, " in output
    rates = {name: float(row[0].replace(",", "")) for name, row in rows(output, "queries").items()}
    assert rates["UDP"] == pytest.approx(9000 / seconds, rel=0.15)
    assert rates["all"] == pytest.approx(10000 / seconds, rel=0.15)
    assert rates["TCP"] == pytest.approx(1000 / seconds, rel=0.15)
    shares = {tier: row[1] for tier, row in rows(output, "answered from").items()}
    assert shares == {"memory": "90.0 %", "disk": "5.0 %", "stale": "1.0 %", "upstream": "4.0 %"}
    shares = {rcode: row[1] for rcode, row in rows(output, "responses").items()}
    assert shares == {"NOERROR": "75.0 %", "NXDOMAIN": "25.0 %", "SERVFAIL": "0.0 %"}
    assert rows(output, "cache") == {
        "memory": ["1,234", "3.0 MiB", "-"],
        "disk": ["56,789", "100 MiB", "-"],
    }
    latencies = rows(output, "latency")
    assert all(re.fullmatch(r"[45]\.\d µs", text) for text in latencies["hits"])
    assert all(re.fullmatch(r"[34]\d ms", text) for text in latencies["misses"])


def test_idle_daemon_has_rates_of_zero_and_no_latencies(stage: Stage) -> None:
    output, _ = in_a_pipe(stage)
    assert rows(output, "queries") == {"UDP": ["0"], "TCP": ["0"], "all": ["0"]}
    assert rows(output, "latency") == {"hits": ["-", "-", "-"], "misses": ["-", "-", "-"]}
    assert rows(output, "answered from")["memory"] == ["0", "-"]


def test_in_a_pipe_queries_of_before_count_for_no_upstream(start_fastdns: Start) -> None:
    with FalseUpstream() as upstream:
        daemon = start_fastdns(upstream=[upstream])
        for _ in range(3):
            for _ in range(3):
                ask(daemon, upstream.new_name())
            command = [*TOP, "--interval", "1.5", "--state", str(daemon.state_dir)]
            output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            (row,) = (line.split() for line in output.splitlines() if address_of(upstream) in line)
            assert row[-3] == "0"


def test_terminal_that_cannot_draw_is_as_good_as_a_pipe(stage: Stage) -> None:
    with Terminal(command(stage), TERM="dumb") as terminal:
        assert terminal.wait_until_left() == (0, "")
        assert "queries" in terminal.text()


def test_busiest_names_stand_as_dig_prints_them_with_all_kinds_of_askers_added_up(
    stage: Stage,
) -> None:
    stage.start_keeper()
    stage.busiest = [
        (Key(HOST, 1, do=True).join().hex(), 70.25),
        (Key(HOST, 1).join().hex(), 50.0),
        (Key(HOST, 65).join().hex(), 110.0),
        (Key(b"\x06a\x1b[2J.\x04t\x00st\x00", 65280).join().hex(), 3.5),
        (Key(b"\x07version\x04bind\x00", 16, 3).join().hex(), 2.0),
        (Key(b"\x00", 2).join().hex(), 1.0),
    ]
    output, _ = in_a_pipe(stage)
    lines = output[output.index("busiest names") :].splitlines()[1:]
    assert [line.split() for line in lines] == [
        ["host.demo.", "A", "120"],
        ["host.demo.", "HTTPS", "110"],
        [r"a\027[2J\..t\000st.", "TYPE65280", "3.5"],
        ["version.bind.", "CH", "TXT", "2.0"],
        [".", "NS", "1.0"],
    ]


@pytest.mark.parametrize(
    "answer", [b"", b"error no\n", b"[[1, 2]]\n", b'[["00", 1.0]]\n', b'[["xx", 1]]\n', b"\xff\n"]
)
def test_keeper_that_talks_nonsense_costs_the_busiest_names_only(
    stage: Stage, answer: bytes
) -> None:
    stage.start_keeper()
    stage.answer = lambda: answer
    output, _ = in_a_pipe(stage)
    assert output.endswith(
        "\nnone: no cached name was asked for lately, or the keeper does not answer\n"
    )
    assert "answered from" in output


def test_without_a_keeper_the_rest_is_shown(stage: Stage) -> None:
    output, _ = in_a_pipe(stage)
    assert output.endswith(
        "\nnone: no cached name was asked for lately, or the keeper does not answer\n"
    )


# On a terminal


def test_it_draws_in_place_with_rates_of_the_last_interval_until_q(stage: Stage) -> None:
    stage.start_keeper()
    stage.busiest = [(Key(HOST, 28).join().hex(), 12.0)]
    stage.counters.add("queries_udp_total", 100)
    with Terminal(command(stage)) as terminal:
        first = terminal.wait_for(r"^host\.demo\. +AAAA +12$")
        assert terminal.alternate
        assert not terminal.cursor
        assert f"pid {stage.pid}," in first
        assert "since its start" in first
        terminal.wait_for(r"^UDP +0 .*")  # since the first look nothing has come
        stage.busiest = [(Key(HOST, 15).join().hex(), 8.0)]
        stage.counters.add("queries_udp_total", 10**6)
        terminal.wait_for(r"^UDP +\d,\d\d\d,\d\d\d ")
        terminal.wait_for(r"^host\.demo\. +MX +8\.0$")
        terminal.wait_for(r"^UDP +0 ")
        terminal.press("q")
        assert terminal.wait_until_left() == (0, "")


@pytest.mark.parametrize("keys", ["Q", "\x03", "xyzq"])
def test_keys_that_leave(stage: Stage, keys: str) -> None:
    with Terminal(command(stage, 60)) as terminal:
        terminal.wait_for("busiest names")
        terminal.press(keys)
        assert terminal.wait_until_left() == (0, "")


def test_other_keys_are_not_echoed_and_do_nothing(stage: Stage) -> None:
    stage.start_keeper()
    with Terminal(command(stage)) as terminal:
        terminal.wait_for("busiest names")
        terminal.press("abc\x1b[A\x1bOq\r ")
        stage.wait_until_asked(4)
        assert "abc" not in terminal.text()
        terminal.press("q")
        assert terminal.wait_until_left() == (0, "")


def test_without_a_keyboard_it_is_left_by_a_signal(stage: Stage) -> None:
    shell = f"exec {' '.join(command(stage, 60))} < /dev/null"
    with Terminal(["sh", "-c", shell]) as terminal:
        terminal.wait_for("busiest names")
        terminal.process.send_signal(signal.SIGINT)
        assert terminal.wait_until_left() == (0, "")


def test_terminal_without_unicode_is_drawn_on_all_the_same(stage: Stage) -> None:
    with Terminal(command(stage, 60), columns=30, PYTHONIOENCODING="ascii") as terminal:
        terminal.wait_for("queries")
        assert terminal.wait_until_full()[1] == "since its start: no queries, ?"
        terminal.press("q")
        assert terminal.wait_until_left() == (0, "")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_signal_that_ends_it_leaves_the_terminal_as_it_was(stage: Stage, number: int) -> None:
    with Terminal(command(stage, 60)) as terminal:
        terminal.wait_for("busiest names")
        terminal.process.send_signal(number)
        assert terminal.wait_until_left() == (128 + number, "")


def test_signal_while_the_keeper_hangs_ends_it_soon(stage: Stage) -> None:
    silent = socket.socket(socket.AF_UNIX)
    silent.bind(str(stage.run / "keeper"))
    silent.listen()  # takes connections and says nothing
    with silent, Terminal(command(stage)) as terminal:
        terminal.wait_for(
            "none: no cached name was asked for lately, or the keeper does not answer"
        )
        start = time.monotonic()
        terminal.process.terminate()
        assert terminal.wait_until_left() == (128 + signal.SIGTERM, "")
        assert time.monotonic() - start < 2


def test_closed_window_ends_it(stage: Stage) -> None:
    with Terminal(command(stage, 60)) as terminal:
        terminal.wait_for("busiest names")
        terminal.hang_up()
        _, errors = terminal.process.communicate(timeout=10)
        assert terminal.process.returncode in (1, 128 + signal.SIGHUP)
        assert "Traceback" not in errors


def test_stopped_by_the_terminal_it_lends_it_back_and_draws_again_when_it_goes_on(
    stage: Stage,
) -> None:
    shell = (
        f"set -m; {' '.join(command(stage, 60))}; echo status $?; "
        'case "$(stty -a)" in *-icanon*|*-echo[[:space:]]*) echo raw;; *) echo usual;; esac; '
        "read line; fg; exit $?"
    )
    with Terminal(["sh", "-c", shell]) as terminal:
        terminal.wait_for("busiest names")
        terminal.press("\x1a")
        seen = terminal.wait_for(r"^usual$|^raw$")
        assert "status 148\nusual" in seen
        assert not terminal.alternate
        assert terminal.cursor
        terminal.press("\n")
        terminal.wait_for("busiest names")
        assert terminal.alternate
        terminal.press("q")
        status, _ = terminal.wait_until_left()
    assert status == 0


def test_it_fits_the_terminal_whatever_that_is_resized_to(stage: Stage) -> None:
    stage.start_keeper()
    stage.busiest = [(Key(b"\x03n%02d\x00" % n, 1).join().hex(), 1000.0 - n) for n in range(50)]
    stage.counters.show_upstreams([(f"192.0.2.{n}:53", n != 9, 0.01, n, 0) for n in range(1, 10)])
    with Terminal(command(stage, 60)) as terminal:
        for columns, rows in ((120, 60), (40, 10), (200, 25), (20, 5), (1, 1), (60, 50)):
            terminal.wait_until_full()
            terminal.resize(columns, rows)
        narrow = terminal.wait_until_full()
        assert any(re.fullmatch("answered from +queries/s +share", line) for line in narrow)
        terminal.resize(80, 24)
        usual = terminal.wait_until_full()
        assert any(re.match(r"192\.0\.2\.9:53 +dead ", line) for line in usual)  # none but this
        assert usual[-1].startswith("n02. ")
        terminal.resize(80, 50)
        high = terminal.wait_until_full()
        assert sum(line.startswith("192.0.2.") for line in high) == 9
        assert high[-1].startswith("n2")
        terminal.press("q")
        assert terminal.wait_until_left() == (0, "")


def test_window_that_tells_no_size_is_taken_for_a_usual_one(stage: Stage) -> None:
    with Terminal(command(stage, 60), columns=0, rows=0) as terminal:
        terminal.wait_for(r"^UDP.* hits +- +- +-$")
        terminal.press("q")
        assert terminal.wait_until_left() == (0, "")


# Daemons that come and go


@pytest.mark.parametrize("terminal", [True, False])
def test_without_a_daemon_it_says_what_stats_says_with_status_1(
    tmp_path: Path, terminal: bool
) -> None:
    wanted = (
        f"fastdns: no daemon runs with state_dir {tmp_path}/state "
        "(fastdns doctor names the daemons that run)\n"
    )
    arguments = [*TOP, "--state", str(tmp_path / "state")]
    if terminal:
        with Terminal(arguments) as shown:
            assert shown.wait_until_left() == (1, wanted)
            assert shown.text().strip() == ""
    else:
        outcome = subprocess.run(arguments, capture_output=True, text=True, timeout=30, check=False)
        assert (outcome.returncode, outcome.stdout, outcome.stderr) == (1, "", wanted)
    assert list(tmp_path.iterdir()) == []


def test_daemon_that_ends_is_waited_for_a_moment_then_it_says_so_with_status_1(
    stage: Stage,
) -> None:
    with Terminal(command(stage)) as terminal:
        terminal.wait_for("the last")
        stage.stop()
        terminal.wait_for(rf"^the daemon \(pid {stage.pid}\) has ended; waiting for another one")
        status, errors = terminal.wait_until_left()
    assert status == 1
    assert re.fullmatch(GONE, errors)


def test_daemon_that_is_started_anew_is_followed_with_its_own_counters(stage: Stage) -> None:
    stage.counters.add("queries_udp_total", 10**9)
    with Terminal(command(stage)) as terminal:
        terminal.wait_for("the last")
        stage.stop()
        terminal.wait_for("waiting for another one")
        stage.start()
        terminal.wait_for(rf"pid {stage.pid}, .*\nsince its start: ")
        terminal.wait_for(r"^UDP +0 ")
        stage.counters.add("queries_udp_total", 3)
        terminal.wait_for(r"^UDP +[1-9]")
        terminal.press("q")
        assert terminal.wait_until_left() == (0, "")


def test_daemon_of_another_version_in_its_place_is_named(stage: Stage) -> None:
    with Terminal(command(stage)) as terminal:
        terminal.wait_for("the last")
        (stage.run / "counters").write_bytes(b"fastdns\0\2\0\0\0".ljust(16384, b"\0"))
        status, errors = terminal.wait_until_left()
    assert status == 1
    assert errors.startswith(
        f"fastdns: {stage.run}/counters was written by another version of fastdns: restart the"
    )


# Rights


@pytest.mark.skipif(os.geteuid() != 0, reason="becoming another user takes root")
def test_as_root_it_becomes_the_owner_before_it_reads(stage: Stage) -> None:
    os.chown(stage.directory, 65534, 65534)
    (stage.run / "counters").chmod(0o600)  # root's: a link could as well lead there
    outcome = subprocess.run(
        command(stage), capture_output=True, text=True, timeout=30, check=False
    )
    assert outcome.returncode == 1
    assert outcome.stderr == (
        f"fastdns: cannot read the counters {stage.run}/counters: Permission denied\n"
    )


def test_nothing_is_imported_once_root_has_been_given_up(stage: Stage) -> None:
    stage.start_keeper()
    script = (
        "import sys\n"
        "from fastdns.cli import main, top\n"
        "class Refuse:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        raise SystemExit(f'imported late: {name}')\n"
        "top.become_owner = lambda directory: sys.meta_path.insert(0, Refuse())\n"
        f"sys.argv = {['fastdns', *command(stage)[3:]]!r}\n"
        "sys.exit(main())\n"
    )
    stage.busiest = [(Key(b"\x05\xc3\xbcnix\x00", 1).join().hex(), 12.0)]
    with Terminal([sys.executable, "-c", script]) as terminal:
        terminal.wait_for("the last")
        stage.counters.show_upstreams([("192.0.2.1:53", False, None, 1, 1)])
        terminal.wait_for("dead")
        terminal.resize(30, 50)
        terminal.wait_for("…$")
        terminal.resize(70, 50)
        stage.stop()
        terminal.wait_for("waiting for another one")
        status, errors = terminal.wait_until_left()
    assert status == 1
    assert re.fullmatch(GONE, errors)


# A real daemon


def test_what_clients_ask_of_a_daemon_is_seen(start_fastdns: Callable[..., Fastdns]) -> None:
    with FalseUpstream() as upstream:
        daemon = start_fastdns(upstream=[upstream])
        arguments = [*TOP, "--state", str(daemon.state_dir), "--interval", "0.5"]
        with Terminal(arguments, columns=100, rows=40) as terminal:
            terminal.wait_for(rf"pid {daemon.pid},")
            name = upstream.new_name(label="busy")
            stop = threading.Event()

            def keep_asking() -> None:
                while not stop.is_set():
                    ask(daemon, name)
                    ask(daemon, upstream.new_name())
                    ask(daemon, name, tcp=True)

            asking = threading.Thread(target=keep_asking)
            asking.start()
            try:
                terminal.wait_for(r"^UDP +[1-9]")
                terminal.wait_for(r"^TCP +[1-9]")
                terminal.wait_for(r"^memory +[1-9].* %  ")
                terminal.wait_for(r"^upstream +[1-9].* %  ")
                terminal.wait_for(r"  NOERROR +[1-9][\d,.]* +100\.0 %$")
                terminal.wait_for(r"  hits +[\d.]+ µs ")
                terminal.wait_for(r"  misses +[\d.]+ [mµ]s ")
                terminal.wait_for(
                    rf"^{re.escape(address_of(upstream))} +alive +[\d.]+ [mµ]s +[1-9]"
                )
                terminal.wait_for(rf"^{re.escape(name)} +A +[1-9]")
                terminal.wait_for(r"  memory +[\d,]+ +[\d.]+ [KM]iB +\d+ MiB$")
            finally:
                stop.set()
                asking.join()
            daemon.stop()
            status, errors = terminal.wait_until_left()
    assert status == 1
    assert re.fullmatch(GONE, errors)


def test_name_that_was_asked_for_once_is_among_the_busiest(
    start_fastdns: Callable[..., Fastdns],
) -> None:
    with FalseUpstream() as upstream:
        daemon = start_fastdns(upstream=[upstream])
        arguments = [*TOP, "--state", str(daemon.state_dir), "--interval", "0.2"]
        with Terminal(arguments, columns=100, rows=40) as terminal:
            terminal.wait_for(rf"pid {daemon.pid},")
            name = upstream.new_name(label="once")
            ask(daemon, name)
            terminal.wait_for(rf"^{re.escape(name)} +A +[\d.]+$")
            terminal.press("q")
            assert terminal.wait_until_left() == (0, "")
