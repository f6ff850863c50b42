"""The certificate that the supervisor keeps current: which pair is used, and what is said of it."""

from __future__ import annotations

import grp
import logging
import os
import ssl
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from fastdns._certificate import make_self_signed
from fastdns.config.listen import Listen
from fastdns.config.values import MaybeFile
from fastdns.listen.certificate_in_use import read_in_use
from fastdns.server.certificate import ServiceCertificate, read_descriptor
from fastdns.server.certificate_page import Pair

DAY = 86400


def made(name: str = "dns.demo", days: int = 90, *, begins: float = 0.0) -> Pair:
    """A pair that begins so many days from now."""
    return Pair(*make_self_signed([name], days, now=time.time() + begins * DAY))


class Owner:
    """The files, and a supervisor that follows them; `look` is one of its rounds."""

    def __init__(self, directory: Path) -> None:
        self.chain, self.key = directory / "chain.pem", directory / "key.pem"
        self.listen = Listen(certificate=MaybeFile(str(self.chain)), key=MaybeFile(str(self.key)))
        self.later = 0.0  # seconds by which its clock is ahead
        self.certificate = ServiceCertificate(lambda: time.time() + self.later, is_roots=False)

    def write(self, pair: Pair) -> Pair:
        self.chain.write_bytes(pair.chain)
        self.key.write_bytes(pair.key)
        return pair

    def use(self, given: Sequence[bytes] = ()) -> None:
        self.certificate.use(self.listen, given)

    def look(self, times: int = 1) -> None:
        for _ in range(times):
            self.certificate.due = 0.0
            self.certificate.look()

    @property
    def used(self) -> Pair | None:
        return self.certificate.page.read()

    @property
    def problems(self) -> list[str]:
        return [one.replace(f"{self.chain.parent}/", "") for one in self.certificate.problems]


@pytest.fixture
def owner(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Owner:
    caplog.set_level(logging.INFO)
    return Owner(tmp_path)


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [one.getMessage() for one in caplog.records if one.levelno >= logging.ERROR]


def test_good_pair_is_used_and_told(owner: Owner, caplog: pytest.LogCaptureFixture) -> None:
    pair = owner.write(made())
    owner.use()
    assert owner.used == pair
    assert owner.problems == []
    told = owner.certificate.told
    assert told is not None
    assert told["names"] == ["dns.demo"]
    assert abs(float(str(told["not_after"])) - (time.time() + 90 * DAY)) < 2 * DAY
    assert caplog.records[0].getMessage().startswith("certificate for dns.demo: in use, until 2")


def test_files_that_nobody_touches_are_not_used_again(owner: Owner) -> None:
    owner.write(made())
    owner.use()
    owner.look(3)
    assert owner.certificate.page.generation == 1
    owner.use()  # a reload
    assert owner.certificate.page.generation == 1


def test_another_pair_is_used_at_the_next_look(owner: Owner) -> None:
    owner.write(made())
    owner.use()
    second = owner.write(made())
    owner.look()
    assert owner.used == second


def test_links_to_another_pair_are_followed(owner: Owner, tmp_path: Path) -> None:
    """As certbot has them."""
    for number in (1, 2):
        archive = Owner(tmp_path / f"archive{number}")
        archive.chain.parent.mkdir()
        pair = archive.write(made())
        for link, file in ((owner.chain, archive.chain), (owner.key, archive.key)):
            link.unlink(missing_ok=True)
            link.symlink_to(file)
        if number == 1:
            owner.use()
        owner.look()
        assert owner.used == pair


def test_pair_that_is_half_written_is_awaited(
    owner: Owner, caplog: pytest.LogCaptureFixture
) -> None:
    first = owner.write(made())
    owner.use()
    second = made()
    owner.chain.write_bytes(second.chain)
    owner.look()
    assert owner.used == first
    assert errors(caplog) == []
    owner.key.write_bytes(second.key)
    owner.look()
    assert owner.used == second
    assert errors(caplog) == []


@pytest.mark.parametrize(
    ("broken", "told"),
    [
        ("chain", "listen.certificate: chain.pem: "),
        ("key", "listen.key: key.pem: "),
        ("other", "listen.key: key.pem: "),
        ("DER", "listen.certificate: chain.pem: the certificate's file has no certificate in PEM "),
        ("missing", "listen.key: key.pem: cannot be read: No such file or directory"),
        ("large", "listen.certificate: chain.pem: is larger than "),
    ],
)
def test_wrong_pair_leaves_the_former_and_is_told_once(
    owner: Owner, caplog: pytest.LogCaptureFixture, broken: str, told: str
) -> None:
    first = owner.write(made())
    owner.use()
    if broken == "missing":
        owner.key.unlink()
    elif broken == "DER":
        owner.chain.write_bytes(ssl.PEM_cert_to_DER_cert(first.chain.decode()))
    elif broken == "large":
        owner.chain.write_bytes(b"#" * (300 << 10))
    else:
        file = owner.chain if broken == "chain" else owner.key
        file.write_bytes(made().key if broken == "other" else b"nothing\n")
    owner.look(4)
    assert owner.used == first
    (line,) = owner.problems
    assert line.startswith(told)
    assert "; the former certificate, until 2" in line
    assert ("try openssl x509 -inform der -in chain.pem" in line) is (broken == "DER")
    assert len(errors(caplog)) == 1
    second = owner.write(made())
    owner.look()
    assert owner.used == second
    assert owner.problems == []


def test_start_without_a_usable_pair_goes_on_and_says_so(
    owner: Owner, caplog: pytest.LogCaptureFixture
) -> None:
    owner.use()
    assert owner.used is None
    (line,) = errors(caplog)
    assert line.endswith("; until that is right, clients cannot use TLS and HTTPS")
    pair = owner.write(made())
    owner.look()
    assert owner.used == pair


def test_pair_that_has_ended_does_not_replace_one_that_holds(owner: Owner) -> None:
    first = owner.write(made())
    owner.use()
    owner.write(made(days=1, begins=-10))
    owner.look(2)
    assert owner.used == first
    (line,) = owner.problems
    assert " ended on 2" in line
    assert "; the former certificate, until" in line


def test_pair_of_tomorrow_waits_for_its_day(owner: Owner) -> None:
    first = owner.write(made())
    owner.use()
    later = owner.write(made(begins=2))
    owner.look(2)
    assert owner.used == first
    owner.later = 3 * DAY
    owner.look()
    assert owner.used == later
    assert owner.problems == []


def test_pair_that_has_ended_is_used_where_there_is_no_other(owner: Owner) -> None:
    pair = owner.write(made(days=1, begins=-10))
    owner.use()
    assert owner.used == pair
    (line,) = owner.problems
    assert line.startswith("the certificate for dns.demo ended on 2")


def test_clock_that_was_never_set_does_not_keep_a_pair_out(owner: Owner) -> None:
    pair = owner.write(made())
    owner.later = 1000.0 - time.time()
    owner.use()
    assert owner.used == pair
    (line,) = owner.problems
    assert "(is the clock right?)" in line


@pytest.mark.parametrize(
    ("life", "rounds"),
    [(90, ((75, 0), (77, 1), (83, 1))), (30, ((26, 0), (28, 1), (29, 1)))],
)
def test_end_is_told_two_weeks_before_and_in_the_last_tenth_of_a_short_life(
    owner: Owner,
    caplog: pytest.LogCaptureFixture,
    life: int,
    rounds: Sequence[tuple[int, int]],
) -> None:
    owner.write(made(days=life))
    owner.use()
    for days, count in rounds:
        owner.later = days * DAY
        owner.look()
        assert len(errors(caplog)) == count, days
    assert "ends on 2" in errors(caplog)[0]


def test_what_root_has_brought_is_used_and_told_until_the_daemon_can_read_it(
    owner: Owner, caplog: pytest.LogCaptureFixture
) -> None:
    pair = made()
    owner.chain.write_bytes(pair.chain)
    owner.use([b"not this: the file can be read", pair.key])
    assert owner.used == pair
    owner.look()
    (line,) = owner.problems
    assert line.startswith("listen.key: key.pem: cannot be read")
    assert line.endswith("; root has brought it, and the next restart loses it")
    assert len(errors(caplog)) == 1
    owner.write(pair)
    owner.look()
    assert (owner.used, owner.problems) == (pair, [])


def test_daemon_that_root_starts_reads_the_key_at_its_next_start_as_well(owner: Owner) -> None:
    pair = made()
    owner.certificate = ServiceCertificate(is_roots=True)
    owner.chain.write_bytes(pair.chain)
    owner.use([pair.chain, pair.key])
    assert (owner.used, owner.problems) == (pair, [])


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_key_that_the_daemon_may_not_read_is_told_with_the_copy_that_it_may(owner: Owner) -> None:
    owner.write(made())
    owner.key.chmod(0)
    owner.use()
    (line,) = owner.problems
    group = grp.getgrgid(os.getegid()).gr_name
    assert f'install -m 0640 -g {group} "$RENEWED_LINEAGE/privkey.pem"' in line


def test_configuration_without_certificate_forgets_the_pair(owner: Owner) -> None:
    owner.write(made())
    owner.use()
    owner.certificate.use(Listen())
    assert owner.used is None
    assert owner.certificate.told is None
    owner.look()


def test_descriptor_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    with open(tmp_path / "file", "rb") as stream:
        stream.read()  # wherever its position is
        assert read_descriptor(stream.fileno()) == b"content"
    reader, writer = os.pipe()
    with pytest.raises(ValueError, match="not a regular file"):
        read_descriptor(reader)
    os.close(reader)
    os.close(writer)


# What commands are told


def test_commands_are_told_which_certificate_is_in_use(owner: Owner, tmp_path: Path) -> None:
    shown = tmp_path / "certificate"
    owner.use()
    owner.certificate.show_at(shown)
    assert read_in_use(shown) is None
    owner.write(made("first.demo"))
    owner.look()
    now = time.time()
    for name in ("first.demo", "second.demo"):
        told = read_in_use(shown)
        assert told is not None
        assert (told.names, told.days_left(now), told.holds(now)) == ((name,), 89, True)
        owner.write(made("second.demo"))
        owner.look()
    owner.certificate.use(Listen())
    assert not shown.exists()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"names": 5}', "9" * 99])
def test_file_that_another_program_wrote_says_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / "certificate").write_text(text)
    assert read_in_use(tmp_path / "certificate") is None
