"""Domains of the configuration: which group has them, and what is said of their lists."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from fastdns._policy import value_of_domain
from fastdns.config.load import load
from fastdns.config.names import parse_name
from fastdns.config.schema import Config
from fastdns.policy.compile import Domains, compile_domains
from fastdns.policy.domain_lists import LIST_OCTETS_MAX

Group = Callable[..., str]


@pytest.fixture
def compiled(tmp_path: Path) -> Callable[[str], tuple[Config, Domains]]:
    def compile_text(text: str) -> tuple[Config, Domains]:
        file = tmp_path / "fastdns.toml"
        file.write_text(text)
        config = load(file, state=tmp_path / "state")
        return config, compile_domains(config)

    return compile_text


def group(name: str, *domains: object) -> str:
    listed = ", ".join(f'"{one}"' for one in domains)
    return f'[[forward]]\nname = "{name}"\ndomains = [{listed}]\nservers = ["10.0.0.1"]\n'


Compile = Callable[[str], tuple[Config, Domains]]


def test_domains_of_the_configuration_and_of_lists_have_their_group(
    compiled: Compile, tmp_path: Path
) -> None:
    (tmp_path / "list").write_text("c.example\nd.example\n")
    config, domains = compiled(
        group("one", "a.example") + group("two", "b.example", f"file:{tmp_path}/list")
    )
    one, two = (value_of_domain(each.number) for each in config.forward)
    for name, value in (("a", one), ("b", two), ("c", two), ("d", two)):
        assert domains.compiled.find(parse_name(f"www.{name}.example")) == [(2, value)]
    assert domains.counts == {"one": 1, "two": 3}
    assert domains.problems == ()


def test_without_groups_there_is_no_domain(compiled: Compile) -> None:
    _, domains = compiled("")
    assert (len(domains.compiled), domains.counts, domains.problems) == (0, {}, ())


def test_domain_of_two_groups_belongs_to_the_first_and_is_told(
    compiled: Compile, tmp_path: Path
) -> None:
    (tmp_path / "list").write_text("a.example\nb.example\na.example\n")
    config, domains = compiled(
        group("one", "a.example") + group("two", "A.example.", f"file:{tmp_path}/list")
    )
    assert domains.compiled.find(parse_name("a.example"))[0][1] == value_of_domain(
        config.forward[0].number
    )
    assert domains.counts == {"one": 1, "two": 1}
    assert domains.problems == (
        'group two: "a.example" belongs to an earlier group, one (leave one out)',
        f"{tmp_path}/list: 2 of its domains belong to an earlier group",  # a line each
    )


def make_directory(path: Path) -> None:
    path.mkdir()


def make_pipe(path: Path) -> None:
    os.mkfifo(path)


def make_nothing(_: Path) -> None:
    """Leave it as it is."""


def make_empty(path: Path) -> None:
    path.write_text("# nothing\n")


def make_closed(path: Path) -> None:
    path.write_text("a.example\n")
    path.chmod(0)


def make_large(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(LIST_OCTETS_MAX + 1)


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (make_nothing, "cannot be read: No such file or directory"),
        (make_directory, "cannot be read: Is a directory"),
        (make_pipe, "is not a regular file"),
        (make_empty, "contains no domain (write one per line)"),
        (make_large, "is larger than 256MiB"),
        pytest.param(
            make_closed,
            "cannot be read by user ",
            marks=pytest.mark.skipif(os.geteuid() == 0, reason="root reads every file"),
        ),
    ],
)
def test_list_that_cannot_be_used_is_told_and_the_rest_is_taken(
    compiled: Compile, tmp_path: Path, make: Callable[[Path], None], problem: str
) -> None:
    path = tmp_path / "list"
    make(path)
    _, domains = compiled(group("one", "a.example", f"file:{path}"))
    assert domains.counts == {"one": 1}
    (told,) = domains.problems
    assert told.startswith(f"{path}: {problem}")


def test_of_many_wrong_lines_the_first_are_told_and_the_rest_are_counted(
    compiled: Compile, tmp_path: Path
) -> None:
    (tmp_path / "list").write_text("a.example\n" + "?\n" * 100)
    _, domains = compiled(group("one", f"file:{tmp_path}/list"))
    assert len(domains.problems) == 11
    assert domains.problems[0] == f'{tmp_path}/list:2: "?" is not a domain'
    assert domains.problems[-1] == f"{tmp_path}/list: 90 more lines are not domains"


def test_list_that_has_vanished_keeps_its_former_domains_and_is_told(
    compiled: Compile, tmp_path: Path
) -> None:
    path = tmp_path / "list"
    path.write_text("a.example\nb.example\n")
    config, former = compiled(group("one", f"file:{path}") + group("two", "a.example"))
    path.unlink()
    domains = compile_domains(config, former)
    assert domains.counts == {"one": 2, "two": 0}
    assert domains.compiled.find(parse_name("b.example")) == [
        (2, value_of_domain(config.forward[0].number))
    ]
    assert domains.problems[0] == (
        f"{path}: cannot be read: No such file or directory; its former 2 domains stay in use"
    )
    path.write_text("c.example\n")
    again = compile_domains(config, compile_domains(config, domains))
    assert again.counts == {"one": 1, "two": 1}
    assert again.problems == ()


def test_list_of_two_groups_is_read_once_and_its_mistakes_are_told_once(
    compiled: Compile, tmp_path: Path
) -> None:
    path = tmp_path / "list"
    path.write_text("a.example\n?\n")
    _, domains = compiled(group("one", f"file:{path}") + group("two", f"file:{path}"))
    assert domains.problems == (
        f'{path}:2: "?" is not a domain',
        f"{path}: 1 of its domains belong to an earlier group",
    )
