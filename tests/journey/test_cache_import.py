"""`fastdns cache import`: the result of an export or a dump, and the messages about bad lines."""

from __future__ import annotations

import base64
import json
import re
import time
from pathlib import Path

import pytest

from .support.commands import FIELDS, cache, names, on_terminal
from .support.stock import entry, fill


def exported(state: Path) -> list[dict[str, object]]:
    lines = cache(state, "export", "-").stdout.splitlines()
    return [json.loads(line) for line in lines]


def kept(found: dict[str, object]) -> dict[str, object]:
    """What does not change from one moment and one configuration to the next."""
    moving = {"ttl", "age", "records", "stored_at", "expires_at", "state"}
    return {name: value for name, value in found.items() if name not in moving}


def test_export_into_import_moves_a_cache_and_keeps_ages(state: Path, tmp_path: Path) -> None:
    file = tmp_path / "entries.json"
    cache(state, "export", str(file))
    other = tmp_path / "other"
    done = cache(other, "import", str(file), "--upstream", "192.0.2.53")
    assert done.stdout == (
        f"imported 6 entries into a new cache at {other}/cache, "
        "1 left out (expired, or must not be cached)\n"
    )
    theirs = [one for one in exported(state) if one["state"] != "expired"]
    ours = exported(other)
    assert list(map(kept, ours)) == list(map(kept, theirs))
    assert [one["state"] for one in ours] == [one["state"] for one in theirs]
    for one, source in zip(ours, theirs, strict=True):
        assert one["stored_at"] == pytest.approx(source["stored_at"], abs=0.01)
    assert list(ours[0]) == [*FIELDS, "wire"]


def test_import_never_replaces_what_is_newer(state: Path, tmp_path: Path) -> None:
    lines = cache(state, "export", "-").stdout
    other = tmp_path / "other"
    cache(other, "import", "-", text_in=lines)
    newer = exported(other)[-1] | {"hits": 77, "age": 0.0, "stored_at": time.time()}
    assert cache(other, "import", "-", text_in=json.dumps(newer)).stdout.startswith("imported 1 ")
    done = cache(other, "import", "-", text_in=lines)
    assert done.stdout.startswith("imported 0 entries, 6 not newer than the cached ones")
    assert exported(other)[-1]["hits"] >= 77


def test_import_takes_the_place_of_what_other_upstreams_gave(state: Path) -> None:
    lines = cache(state, "export", "-").stdout
    fill(state, [entry("www.example", "A", "192.0.2.77")])
    assert cache(state, "import", "-", text_in=lines).stdout.startswith("imported 6 entries")
    assert "192.0.2.77" not in cache(state, "get", "www.example", "A").stdout


def test_import_of_an_age_that_is_unknown_makes_a_stale_entry(state: Path, tmp_path: Path) -> None:
    one = next(one for one in exported(state) if one["name"] == "notexample.")
    other = tmp_path / "other"
    cache(other, "import", "-", text_in=json.dumps(one | {"age": None}))
    found = json.loads(cache(other, "get", "notexample", "--json").stdout)
    assert (found["state"], found["age"]) == ("stale", None)


def wire_of(state: Path, name: str) -> bytes:
    return next(
        base64.b64decode(str(one["wire"])) for one in exported(state) if one["name"] == name
    )


def test_bad_line_names_its_number_and_stops_nothing_else(state: Path, tmp_path: Path) -> None:
    good = next(one for one in exported(state) if one["name"] == "notexample.")

    def changed(**fields: object) -> str:
        return json.dumps(good | fields)

    wire = wire_of(state, "notexample.")
    failure = base64.b64encode(wire[:3] + bytes((wire[3] & 0xF0 | 2,)) + wire[4:]).decode()
    cut = base64.b64encode(wire[:-1]).decode()
    lines = [
        ("{", "is not a line of JSON"),
        ("[]", "is not a JSON object"),
        ("[" * 100_000, "is too deeply nested"),
        ("\udcff", "is not a line of JSON"),
        (changed(name="a..b"), 'name: "a..b" has an empty label (two dots in a row)'),
        (changed(name=None), "name: is missing"),
        (changed(type=1), "type: is not a string"),
        (changed(type="BOGUS"), 'type: "BOGUS" is not a record type (try AAAA or TYPE65280)'),
        (changed(name="other.example"), "wire: is not a well-formed answer to this question"),
        (changed(wire=cut), "wire: is not a well-formed answer to this question"),
        (changed(wire=failure), "wire: is a failure (SERVFAIL), which is not cached"),
        (changed(wire="?"), "wire: is not base64"),
        (changed(wire=None), "wire: is missing (fastdns cache export writes it)"),
        (changed(stored_at="now"), "stored_at: is not a number of seconds"),
        (changed(stored_at=float("nan")), "stored_at: is not a time"),
        (changed(do=1), "do: is not true or false"),
        (changed(view=-1), "view: is not an integer from 0 to 65535"),
        (changed(hits=1.5), "hits: is not an integer from 0 to 9223372036854775808"),
        (changed(rtt_ms=-1), "rtt_ms: is not a round trip"),
        (changed(upstream=["x"]), "upstream: a list is not the address of an upstream"),
    ]
    text = "\n".join([line for line, _ in lines] + ["", json.dumps(good), ""])
    file = tmp_path / "lines"
    file.write_text(text, errors="surrogateescape")
    other = tmp_path / "other"
    done = cache(other, "import", str(file), status=1)
    assert done.stderr.splitlines() == [
        f"{file}:{number}: {problem}" for number, (_, problem) in enumerate(lines, 1)
    ]
    assert done.stdout == (
        f"imported 1 entry into a new cache at {other}/cache, {len(lines)} bad\n"
    )
    assert names(other) == ["notexample."]


def test_bad_lines_without_end_are_told_twenty_times_and_then_counted(tmp_path: Path) -> None:
    file = tmp_path / "lines"
    file.write_text("{\n" * 500)
    done = cache(tmp_path / "other", "import", str(file), status=1)
    *told, last = done.stderr.splitlines()
    assert told == [f"{file}:{number}: is not a line of JSON" for number in range(1, 21)]
    assert last == f"{file}: further bad lines are only counted"
    assert done.stdout == (
        f"imported 0 entries into a new cache at {tmp_path}/other/cache, 500 bad\n"
    )


DUMP = """\
START_RRSET_CACHE
;rrset 600 1 0 8 0
www.example.demo.	600	IN	A	192.0.2.80
END_RRSET_CACHE
START_MSG_CACHE
msg www.example.demo. IN A 33152 1 600 0 1 0 0
www.example.demo. IN A 0
END_MSG_CACHE
EOF
"""


@pytest.mark.parametrize(("octets", "line"), [(-4, 8), (DUMP.index("END_MSG"), 7)])
def test_dump_that_was_cut_is_taken_in_as_far_as_it_goes_and_told_with_status_1(
    tmp_path: Path, octets: int, line: int
) -> None:
    done = cache(tmp_path / "other", "import", "-", text_in=DUMP[:octets], status=1)
    assert done.stderr == f"fastdns: -: the dump ends early (line {line})\n"
    assert done.stdout == f"imported 1 entry into a new cache at {tmp_path}/other/cache\n"
    assert cache(tmp_path / "whole", "import", "-", text_in=DUMP).stderr == ""


def test_import_on_a_terminal_says_what_it_waits_for(state: Path) -> None:
    status, seen = on_terminal(state, "load_cache", typed="\x04")
    assert status == 0
    assert "reading from standard input, until Ctrl-D\r\n" in seen


def test_import_says_when_the_cache_is_full(state: Path, tmp_path: Path) -> None:
    lines = cache(state, "export", "-").stdout.splitlines()
    one = json.loads(next(line for line in lines if '"notexample."' in line))
    wire = base64.b64decode(one["wire"])
    config = tmp_path / "fastdns.toml"
    config.write_text(f'state_dir = "{tmp_path}/other"\n[cache]\ndisk = "3MiB"\n')
    text = []
    for number in range(20_000):
        label = f"{number:010d}".encode()  # as long as the label that it replaces
        changed = wire.replace(b"notexample", label)
        name = label.decode()
        text.append(json.dumps(one | {"name": name, "wire": base64.b64encode(changed).decode()}))
    done = cache(None, "import", "-", "-c", str(config), text_in="\n".join(text), status=1)
    assert re.fullmatch(
        rf"fastdns: the disk cache {tmp_path}/other/cache is full \(cache.disk sets its size\)"
        rf"(; imported \d+ entries into a new cache at {tmp_path}/other/cache, "
        r"the rest was left out)?\n",
        done.stderr,
    )
    # As full as the keeper lets it be, so that it can still write.
    told = json.loads(cache(None, "stats", "--json", "-c", str(config)).stdout)
    assert 0.8 <= told["map_use"] < 0.9
