"""`make repository`: apt finds the packages there, and refuses what the key has not signed."""

from __future__ import annotations

import functools
import http.server
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
PROGRAMS = ("apt-ftparchive", "apt-get", "dpkg-deb", "gpg")
CONTROL = """\
Package: fastdns
Version: {version}
Architecture: {arch}
Maintainer: Nobody <nobody@example.net>
Description: stands in for the package
"""
APT = """\
Dir::State "{place}/state";
Dir::State::status "{place}/status";
Dir::Cache "{place}/cache";
Dir::Etc::sourcelist "/dev/null";
Dir::Etc::sourceparts "{place}/sources.list.d";
Dir::Etc::preferencesparts "/dev/null";
Dir::Log "{place}";
APT::Architecture "{arch}";
APT::Architectures "{arch}";
APT::Sandbox::User "";
"""

pytestmark = pytest.mark.skipif(
    not all(map(shutil.which, PROGRAMS)), reason=f"needs {', '.join(PROGRAMS)}"
)


class Silent(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


class Repository:
    """A checkout with packages in dist/, and the web server that has what is made of them."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.directory = place / "dist" / "repository"
        self.key = place / "data" / "fastdns" / "repository-key.asc"
        (place / "packaging").mkdir()
        shutil.copy(ROOT / "packaging" / "repository.sh", place / "packaging")
        handler = functools.partial(Silent, directory=str(self.directory))
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=self.server.serve_forever).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    def package(self, version: str, arch: str, suite: str) -> None:
        tree = self.place / "tree"
        (tree / "DEBIAN").mkdir(parents=True)
        (tree / "DEBIAN" / "control").write_text(CONTROL.format(version=version, arch=arch))
        made = self.place / "dist" / suite
        made.mkdir(parents=True, exist_ok=True)
        name = f"fastdns_{version}_{arch}.deb"
        subprocess.run(["dpkg-deb", "--build", tree, made / name], check=True, capture_output=True)
        shutil.rmtree(tree)

    def make(self, *arguments: str, data: str = "data") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["sh", "packaging/repository.sh", *(arguments or (self.url,))],
            cwd=self.place,
            env={
                "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
                "HOME": str(self.place),
                "XDG_DATA_HOME": str(self.place / data),
            },
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )


class Machine:
    """A machine's apt, which knows no other address than the repository's."""

    def __init__(self, place: Path, arch: str) -> None:
        self.place = place
        for name in ("state/lists/partial", "cache/archives/partial", "sources.list.d", "got"):
            (place / name).mkdir(parents=True)
        (place / "status").touch()
        (place / "apt.conf").write_text(APT.format(place=place, arch=arch))

    def fetch_sources(self, repository: Repository, suite: str) -> None:
        """Do what the one line does first."""
        shutil.copy(repository.directory / f"{suite}.sources", self.place / "sources.list.d")

    def apt(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            words,
            cwd=self.place / "got",
            env={
                "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
                "APT_CONFIG": str(self.place / "apt.conf"),
            },
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    def update(self) -> str:
        """Return what `apt-get update` complains of; nothing when all is well."""
        done = self.apt("apt-get", "update", "-o", "APT::Update::Error-Mode=any")
        return done.stderr if done.returncode else ""

    def candidate(self) -> str:
        policy = self.apt("apt-cache", "policy", "fastdns").stdout
        return "".join(line.split()[-1] for line in policy.splitlines() if "Candidate:" in line)


@pytest.fixture
def repository(tmp_path: Path) -> Iterator[Repository]:
    repository = Repository(tmp_path)
    try:
        for arch in ("amd64", "arm64"):
            repository.package("0.1.0", arch, "bookworm")
        repository.package("0.1.0", "arm64", "trixie")
        yield repository
    finally:
        repository.close()


@pytest.fixture
def machine(tmp_path: Path, repository: Repository) -> Machine:
    """One of bookworm, to which the repository has been made known."""
    made = repository.make()
    assert made.returncode == 0, made.stderr
    machine = Machine(tmp_path / "machine", "arm64")
    machine.fetch_sources(repository, "bookworm")
    return machine


def test_apt_finds_the_package_and_gets_it(repository: Repository, machine: Machine) -> None:
    assert machine.update() == ""
    assert machine.candidate() == "0.1.0"
    machine.apt("apt-get", "download", "fastdns")
    (got,) = (machine.place / "got").iterdir()
    same = repository.place / "dist" / "bookworm" / "fastdns_0.1.0_arm64.deb"
    assert got.read_bytes() == same.read_bytes()


def test_next_version_is_found_by_those_who_know_the_key(
    repository: Repository, machine: Machine
) -> None:
    repository.package("0.1.1", "arm64", "bookworm")
    assert "made a key" not in repository.make().stdout
    assert machine.update() == ""
    assert machine.candidate() == "0.1.1"


def test_index_that_was_tampered_with_is_refused(repository: Repository, machine: Machine) -> None:
    index = repository.directory / "dists/bookworm/main/binary-arm64/Packages"
    index.write_text(index.read_text().replace("nobody@", "noboby@"))
    index.with_suffix(".gz").unlink()
    assert "Hash Sum mismatch" in machine.update()
    assert machine.candidate() == ""


def test_package_that_was_tampered_with_is_refused(
    repository: Repository, machine: Machine
) -> None:
    assert machine.update() == ""
    package = repository.directory / "pool/bookworm/fastdns_0.1.0_arm64.deb"
    octets = bytearray(package.read_bytes())
    octets[-1] ^= 1
    package.write_bytes(octets)
    assert machine.apt("apt-get", "download", "fastdns").returncode
    assert not list((machine.place / "got").glob("*.deb"))  # apt calls it .FAILED


def test_another_key_is_refused(repository: Repository, machine: Machine) -> None:
    assert repository.make(repository.url, data="another").returncode == 0
    assert "NO_PUBKEY" in machine.update()
    assert machine.candidate() == ""


def test_key_is_made_once_outside_of_what_is_served_and_only_its_owner_reads_it(
    repository: Repository,
) -> None:
    made = repository.make()
    assert f"made a key that signs the packages: {repository.key}\n" in made.stdout
    assert repository.key.stat().st_mode & 0o777 == 0o600
    served = [path for path in repository.directory.rglob("*") if path.is_file()]
    assert not [path for path in served if b"PRIVATE KEY" in path.read_bytes()]


def test_one_line_of_the_page_says_where_it_is_served(repository: Repository) -> None:
    made = repository.make("https://apt.example.net/fastdns/")
    line = made.stdout.splitlines()[-1].strip()
    assert " https://apt.example.net/fastdns/$VERSION_CODENAME.sources " in line
    assert line in (repository.directory / "README.txt").read_text()
    assert line.replace("&", "&amp;") in (repository.directory / "index.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([""], "URL says where you will serve it: make repository URL=https://apt.example.net"),
        (["https://a.example/ b"], "https://a.example/ b is no URL that apt takes"),
        (["https://a.example", "nobody"], "gpg has no secret key nobody"),
    ],
)
def test_what_is_wrong_is_told_in_a_line(
    repository: Repository, arguments: list[str], words: str
) -> None:
    done = repository.make(*arguments)
    assert (done.returncode, done.stderr) == (1, f"make repository: {words}\n")
    assert not list((repository.place / "dist").glob("repository*"))


def test_without_packages_it_says_how_to_make_one(repository: Repository) -> None:
    shutil.rmtree(repository.place / "dist")
    done = repository.make()
    assert done.returncode == 1
    assert done.stderr == "make repository: there is no package in dist/: make deb\n"
