"""What is said of the groups after a reload."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from fastdns.config.load import load
from fastdns.config.schema import Config
from fastdns.policy.changes import changes, changes_of_local
from fastdns.policy.compile import Domains, compile_domains
from fastdns.policy.local import LocalSources
from fastdns.policy.local_names import Names

Load = Callable[..., tuple[Config, Domains]]


@pytest.fixture
def loaded(tmp_path: Path) -> Load:
    def load_text(text: str, former: Domains | None = None) -> tuple[Config, Domains]:
        file = tmp_path / "fastdns.toml"
        file.write_text(text.replace("LIST", str(tmp_path / "list")))
        config = load(file, state=tmp_path / "state")
        return config, compile_domains(config, former)

    return load_text


def group(name: str, domains: str, rest: str = 'servers = ["10.0.0.1"]') -> str:
    return f'[[forward]]\nname = "{name}"\ndomains = [{domains}]\n{rest}\n'


CORP = group("corp", '"a.example", "b.example"')


@pytest.mark.parametrize(
    ("was", "now", "told"),
    [
        ("", "", []),
        (CORP, CORP, ["forward: 2 domains in 1 group, as before"]),
        ("", CORP, ["forward: 2 domains in 1 group", "group corp: new, 2 domains"]),
        (CORP, "", ["forward: 0 domains in 0 groups", "group corp: removed"]),
        (
            CORP,
            group("corp", '"a.example"') + group("lab", '"lab.example"'),
            [
                "forward: 2 domains in 2 groups",
                "group corp: 1 domain (2 before)",
                "group lab: new, 1 domain",
            ],
        ),
        (
            CORP,
            group("corp", '"a.example", "c.example"', 'servers = ["10.0.0.2"]'),
            [
                "forward: 2 domains in 1 group",
                "group corp: other domains, 2 as before, other servers",
            ],
        ),
        (
            CORP,
            group("corp", '"b.example", "a.example"', 'servers = ["10.0.0.1"]\ntrust_ad = true'),
            ["forward: 2 domains in 1 group", "group corp: other settings"],
        ),
        (
            CORP,
            group("corp", '"a.example", "b.example"', 'answer = "nxdomain"'),
            ["forward: 2 domains in 1 group", "group corp: answered here, without servers"],
        ),
    ],
)
def test_what_has_changed_is_told_by_group(
    loaded: Load, was: str, now: str, told: list[str]
) -> None:
    before = loaded(was)
    assert changes(before, loaded(now, before[1])) == told


def test_another_list_of_as_many_domains_is_seen(loaded: Load, tmp_path: Path) -> None:
    text = group("corp", '"file:LIST"')
    (tmp_path / "list").write_text("a.example\n")
    before = loaded(text)
    (tmp_path / "list").write_text("# new\na.example\n")
    same = loaded(text, before[1])
    assert changes(before, same) == ["forward: 1 domain in 1 group, as before"]
    (tmp_path / "list").write_text("b.example\n")
    assert changes(same, loaded(text, same[1]))[1:] == ["group corp: other domains, 1 as before"]


def test_of_many_groups_the_first_are_told_and_the_rest_are_counted(loaded: Load) -> None:
    many = "".join(group(f"g{number}", f'"n{number}.example"') for number in range(40))
    told = changes(loaded(""), loaded(many))
    assert len(told) == 12
    assert told[-1] == "30 more groups have changed"


@pytest.fixture
def local_names(tmp_path: Path) -> Callable[..., Names]:
    """Return the local names of a configuration whose hosts file has this text."""

    def load_text(hosts: str | None, rest: str = "") -> Names:
        file, listed = tmp_path / "fastdns.toml", tmp_path / "hosts"
        file.write_text("[local]\n" + ("" if hosts is None else f'hosts = ["{listed}"]\n') + rest)
        listed.write_text(hosts or "")
        return LocalSources(load(file, state=tmp_path / "state").local).names

    return load_text


NAS = "192.168.1.10 nas\n"
RECORD = 'records = ["x.lan A 192.168.1.11"]\n'


@pytest.mark.parametrize(
    ("was", "now", "told"),
    [
        ((None,), (None,), []),
        ((NAS,), (NAS,), ["local: 1 name in 1 file, as before"]),
        (
            (None,),
            (NAS, RECORD),
            ["local: 2 names in 1 file", "local.records: new, 1 name", "HOSTS: new, 1 name"],
        ),
        (
            (NAS, RECORD),
            (None,),
            ["local: 0 names", "local.records: no names any more", "HOSTS: no names any more"],
        ),
        (
            (NAS,),
            (NAS + "192.168.1.11 x y\n",),
            ["local: 3 names in 1 file", "HOSTS: 3 names (1 before)"],
        ),
        (
            (NAS,),
            ("192.168.1.12 nas\n",),
            ["local: 1 name in 1 file", "HOSTS: other names, 1 as before"],
        ),
        (
            (NAS,),
            (NAS, 'domain = "lan"\n'),
            ["local: 1 name in 1 file", "HOSTS: other names, 1 as before"],
        ),
        (
            (None, RECORD),
            (None, RECORD.replace("11", "12")),
            ["local: 1 name", "local.records: other names, 1 as before"],
        ),
    ],
)
def test_changed_sources_of_local_names_are_told(
    local_names: Callable[..., Names],
    tmp_path: Path,
    was: tuple[str | None, ...],
    now: tuple[str | None, ...],
    told: list[str],
) -> None:
    lines = changes_of_local(local_names(*was), local_names(*now))

    assert [line.replace(str(tmp_path / "hosts"), "HOSTS") for line in lines] == told
