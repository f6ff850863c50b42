"""The doctor's changes, how they are recorded, and that all can be undone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fastdns.doctor.changes import Content, FileChange, look, put
from fastdns.doctor.record import KINDS, Record, only_one
from fastdns.doctor.resolv import manager, nameservers, pointed
from fastdns.errors import FastdnsError

NEW = Content("new\n")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "etc").mkdir()
    return tmp_path / "etc"


@pytest.fixture
def record(place: Path) -> Record:
    return Record(place / "fastdns" / "doctor.json")


def again(record: Record) -> Record:
    """The record as another process finds it."""
    return Record(record._path)


def make_all(record: Record, *changes: FileChange) -> None:
    with record.all_or_nothing():
        for change in changes:
            record.make(change)


def test_new_file_goes_again_with_the_directories_made_for_it(place: Path, record: Record) -> None:
    file = place / "a" / "b" / "c.conf"
    record.make(FileChange.of(file, NEW))
    assert file.read_text() == "new\n"

    found = again(record)
    found.take_back(found.changes[0])

    assert list(place.iterdir()) == []


def test_directory_that_others_use_meanwhile_stays(place: Path, record: Record) -> None:
    file = place / "a" / "c.conf"
    record.make(FileChange.of(file, NEW))
    (place / "a" / "other").touch()

    record.take_back(record.changes[0])

    assert [one.name for one in (place / "a").iterdir()] == ["other"]


def test_changed_file_has_its_octets_and_its_mode_again(place: Path, record: Record) -> None:
    file = place / "x"
    file.write_bytes(b"old \xff\n")
    file.chmod(0o640)
    record.make(FileChange.of(file, NEW))

    found = again(record)
    found.take_back(found.changes[0])

    assert file.read_bytes() == b"old \xff\n"
    assert file.stat().st_mode & 0o777 == 0o640


def test_link_that_became_a_file_is_a_link_again(place: Path, record: Record) -> None:
    link = place / "x"
    link.symlink_to("../run/nowhere")
    record.make(FileChange.of(link, NEW))
    assert not link.is_symlink()

    record.take_back(record.changes[0])

    assert look(link) == Content(link="../run/nowhere")


def test_changes_of_one_file_are_taken_back_one_after_the_other(
    place: Path, record: Record
) -> None:
    file = place / "x"
    file.write_text("old\n")
    for text in ("first\n", "second\n"):
        record.make(FileChange.of(file, Content(text)))

    for change in reversed(list(record.changes)):
        record.take_back(change)

    assert file.read_text() == "old\n"


def test_change_stands_in_the_record_before_it_is_made(place: Path, record: Record) -> None:
    seen: list[object] = []

    class Watched(FileChange):
        def make(self) -> None:
            seen.extend(json.loads(record._path.read_text())["changes"])
            raise FastdnsError("the power is cut here")

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(KINDS, "file", Watched)
        with pytest.raises(FastdnsError):
            record.make(Watched(str(place / "x"), None, NEW))

    assert len(seen) == 1
    found = again(record)
    assert "is as before" in found.take_back(found.changes[0])
    assert list(place.iterdir()) == []


def test_file_that_somebody_has_changed_since_is_left_alone(place: Path, record: Record) -> None:
    file = place / "x"
    record.make(FileChange.of(file, NEW))
    file.write_text("somebody's\n")

    assert "it was changed since" in record.take_back(record.changes[0])

    assert file.read_text() == "somebody's\n"
    assert not record._path.exists()


def test_failure_takes_back_what_belongs_together(place: Path, record: Record) -> None:
    record.make(FileChange.of(place / "kept", NEW))
    hopeless = FileChange(str(place / "kept" / "y"), None, NEW)  # below a file

    with pytest.raises(FastdnsError, match="y: cannot be changed"):
        make_all(record, FileChange.of(place / "x", NEW), hopeless)

    assert sorted(one.name for one in place.iterdir()) == ["fastdns", "kept"]
    assert [str(one) for one in again(record).changes] == [str(place / "kept")]


def test_impatience_takes_back_what_belongs_together(place: Path, record: Record) -> None:
    class Endless(FileChange):
        def make(self) -> None:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(KINDS, "file", Endless)
        with pytest.raises(KeyboardInterrupt):
            make_all(record, Endless(str(place / "x"), None, NEW))

    assert list(place.iterdir()) == []


def test_what_cannot_be_recorded_is_not_made(place: Path, record: Record) -> None:
    (place / "fastdns").touch()
    with pytest.raises(FastdnsError, match="cannot be written"):
        record.make(FileChange.of(place / "x", NEW))
    assert not (place / "x").exists()
    assert record.changes == []


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "null",
        "nonsense",
        "{}",
        '{"version": 2, "changes": []}',
        '{"version": 1, "changes": [{"kind": "pipe"}]}',
        '{"version": 1, "changes": [{"kind": "file"}]}',
        '{"version": 1, "changes": [{"kind": "unit", "unit": "x", "no": 1}]}',
        '{"version": 1, "changes": [7]}',
        '{"version": 1, "changes": [{"kind": "unit", "unit": 7, "enabled": true, "active": true}]}',
        '{"version": 1, "changes": [{"kind": "unit", "unit": "x", "enabled": 1, "active": true}]}',
        '{"version": 1, "changes": [{"kind": "file", "path": 7, "before": null, "after": {}}]}',
        '{"version": 1, "changes": [{"kind": "file", "path": "/x", "before": 7, "after": {}}]}',
        '{"version": 1, "changes": [{"kind": "file", "path": "/x", "before": null, "after": 7}]}',
        '{"version": 1, "changes": [{"kind": "file", "path": "/x", "before": {"mode": ""}}]}',
        "[" * 100_000,
    ],
)
def test_damaged_record_is_named(tmp_path: Path, text: str) -> None:
    file = tmp_path / "doctor.json"
    file.write_text(text)
    with pytest.raises(FastdnsError, match=f"{file}: is not a record"):
        Record(file)


def test_record_that_others_can_write_is_not_believed(tmp_path: Path) -> None:
    file = tmp_path / "doctor.json"
    file.write_text('{"version": 1, "changes": []}')
    file.chmod(0o666)
    with pytest.raises(FastdnsError, match="users other than root can write it"):
        Record(file)


def test_two_do_not_make_changes_at_once(place: Path) -> None:
    path = place / "fastdns" / "doctor.json"
    with (
        only_one(path),
        pytest.raises(FastdnsError, match="another `fastdns doctor`"),
        only_one(path),
    ):
        pass


def test_what_is_no_small_file_is_not_changed(place: Path) -> None:
    with pytest.raises(FastdnsError, match="is not a small file"):
        FileChange.of(place, NEW)


def test_failed_write_leaves_the_old_content(place: Path) -> None:
    (place / "x").mkdir()
    with pytest.raises(FastdnsError, match="cannot be changed"):
        put(place / "x", NEW)
    assert [one.name for one in place.iterdir()] == ["x"]


# resolv.conf


def test_nameservers_are_exchanged_where_they_stand() -> None:
    text = "search a\nnameserver 1.1.1.1\noptions x\nnameserver 9.9.9.9 # old\n# end"
    assert pointed(text, "127.0.0.1", []) == "search a\nnameserver 127.0.0.1\noptions x\n# end\n"


def test_first_nameserver_stands_at_the_end() -> None:
    expected = "search a\nnameserver ::1\nnameserver 9.9.9.9\n"
    assert pointed("search a\n", "::1", ["9.9.9.9"]) == expected


@pytest.mark.parametrize(
    ("text", "who"),
    [
        ("# Generated by NetworkManager\n", "NetworkManager"),
        ("# Dynamic file generated by resolvconf(8)\n", "resolvconf"),
        ("# This file is managed by man:systemd-resolved(8).\n", "systemd-resolved"),
        ("nameserver 127.0.0.53\n", "systemd-resolved"),
    ],
)
def test_program_that_writes_resolv_conf_is_known(tmp_path: Path, text: str, who: str) -> None:
    file = tmp_path / "resolv.conf"
    file.write_text(text)
    assert manager(file) == who


def test_link_tells_who_writes_resolv_conf(tmp_path: Path) -> None:
    link = tmp_path / "resolv.conf"
    link.symlink_to("/run/NetworkManager/resolv.conf")
    assert manager(link) == "NetworkManager"


def test_missing_resolv_conf_names_nobody(tmp_path: Path) -> None:
    assert nameservers(tmp_path / "none") == []
