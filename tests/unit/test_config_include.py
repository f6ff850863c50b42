"""`include`: several files make one configuration, and messages name the right one."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fastdns.config.documents import read_documents
from fastdns.config.lines import doubles, key_lines
from fastdns.config.load import load, load_places
from fastdns.config.render import render
from fastdns.config.schema import Config
from fastdns.errors import ConfigErrors

Write = Callable[..., Path]
CONF_D = 'include = ["conf.d/*.toml"]\n'


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """One with a short name: an error shows no more than the beginning of a long path."""
    with tempfile.TemporaryDirectory() as place:
        yield Path(place)


@pytest.fixture
def write(tmp_path: Path) -> Write:
    (tmp_path / "conf.d").mkdir()

    def write(name: str, text: str) -> Path:
        (tmp_path / name).write_text(text)
        return tmp_path / name

    return write


def loaded(main: Path) -> tuple[Config, list[str]]:
    notes: list[str] = []
    return load(main, state=main.parent / "state", say=notes.append), notes


def refused(main: Path) -> list[str]:
    with pytest.raises(ConfigErrors) as caught:
        load(main, state=main.parent / "state")
    return [line.replace(str(main.parent) + "/", "") for line in caught.value.lines]


def test_included_files_are_read_in_the_order_of_their_names_and_the_later_wins(
    write: Write,
) -> None:
    main = write("main.toml", CONF_D + '[cache]\nmemory = "1MiB"\nmin_ttl = "1s"\n')
    write("conf.d/20-b.toml", '[cache]\nmemory = "3MiB"\n')
    write("conf.d/10-a.toml", '[cache]\nmemory = "2MiB"\nmax_ttl = "9s"\n')
    write("conf.d/.hidden.toml", "rubbish")
    write("conf.d/notes.txt", "rubbish")

    config, notes = loaded(main)

    assert config.cache.memory == 3 << 20
    assert (config.cache.min_ttl, config.cache.max_ttl) == (1, 9)
    here = main.parent
    assert notes == [
        f"cache.memory: {here}/conf.d/10-a.toml:2 replaces {here}/main.toml:3",
        f"cache.memory: {here}/conf.d/20-b.toml:2 replaces {here}/conf.d/10-a.toml:2",
    ]


def test_a_list_is_replaced_and_a_table_is_joined(write: Write) -> None:
    main = write(
        "main.toml", CONF_D + '[listen]\ndns = ["127.0.0.1:1"]\n[access]\ndeny = ["lan"]\n'
    )
    write("conf.d/a.toml", 'listen.dns = ["0.0.0.0:53"]\naccess = {refuse = "drop"}\n')
    config, notes = loaded(main)
    assert [str(one) for one in config.listen.dns] == ["0.0.0.0:53"]
    assert (config.access.deny, config.access.refuse) == (("lan",), "drop")
    assert len(notes) == 1


def test_relative_and_absolute_patterns_in_their_order(write: Write, tmp_path: Path) -> None:
    main = write("main.toml", f'include = ["{tmp_path}/z.toml", "conf.d/?.toml", "a.toml"]\n')
    for name, level in (("z", "debug"), ("conf.d/x", "error"), ("a", "warning")):
        write(f"{name}.toml", f'log_level = "{level}"\n')
    assert loaded(main)[0].log_level == "warning"


def test_file_that_two_patterns_name_counts_where_it_is_named_last(write: Write) -> None:
    main = write("main.toml", 'include = ["conf.d/*", "conf.d/a.toml"]\n')
    write("conf.d/a.toml", 'log_level = "debug"\n')
    write("conf.d/b.toml", 'log_level = "error"\n')
    assert loaded(main)[0].log_level == "debug"


def test_pattern_that_fits_the_main_file_leaves_it_out(write: Write) -> None:
    main = write("main.toml", 'include = ["*.toml"]\nlog_level = "debug"\n')
    assert loaded(main)[1] == []


@pytest.mark.parametrize(
    "pattern", ["conf.d/*.toml", "nothing/*.toml", "no*/x.toml", "main.toml/*"]
)
def test_pattern_without_a_file_is_no_error(write: Write, pattern: str) -> None:
    main = write("main.toml", f'include = ["{pattern}"]\n')
    assert loaded(main)[0].workers == 1


def test_path_without_a_file_is_an_error(write: Write) -> None:
    main = write("main.toml", 'include = ["conf.d/lan.toml"]\n')
    assert refused(main) == ["conf.d/lan.toml: cannot be read: No such file or directory"]


@pytest.mark.parametrize(
    ("value", "line"),
    [
        ('"a.toml"', 'include: "a.toml" is not a list (put it in [ ])'),
        ("[7]", 'include: 7 is not a path in quotes (try "conf.d/*.toml")'),
        ('[""]', 'include: "" names no file (try "conf.d/*.toml")'),
        ('["a\\u0000*"]', 'include: "a\\u0000*" names no file (try "conf.d/*.toml")'),
        ('["conf.d/"]', 'include: "conf.d/" names no file (try "conf.d/*.toml")'),
        ('["conf.d"]', "conf.d: cannot be read: Is a directory"),
    ],
)
def test_what_cannot_be_included_is_told_in_a_line(write: Write, value: str, line: str) -> None:
    (found,) = refused(write("main.toml", f"include = {value}\n"))
    assert found.replace("main.toml: ", "") == line


def test_errors_name_the_file_they_are_in_all_at_once(write: Write) -> None:
    main = write("main.toml", CONF_D + 'workers = "x"\n[cache]\nmemory = 7\n')
    write("conf.d/a.toml", '[cache]\nmin_ttl = "7"\nmemroy = 1\n')
    write("conf.d/b.toml", 'wrokers = 1\n[upstream]\nservers = ["no.name"]\n')
    lines = refused(main)
    assert [line.partition(": ")[0] for line in lines] == [
        *("main.toml", "main.toml", "conf.d/a.toml", "conf.d/a.toml"),
        *("conf.d/b.toml", "conf.d/b.toml"),
    ]


def test_file_of_a_place_in_a_list_is_that_of_the_list(write: Write) -> None:
    main = write("main.toml", CONF_D + "[upstream]\nservers = []\n")
    write("conf.d/a.toml", 'upstream.strategy = "failover"\n')
    documents = read_documents(main, regular=True)
    assert documents.place_of("upstream.servers[3].name")[0] == str(main)
    assert documents.place_of("upstream.strategy")[0] == f"{main.parent}/conf.d/a.toml"
    assert documents.place_of("nothing.at.all")[0] == str(main)


def test_wrong_value_that_another_file_replaces_is_not_looked_at(write: Write) -> None:
    main = write("main.toml", CONF_D + 'workers = "x"\n')
    write("conf.d/a.toml", "workers = 2\n")
    assert loaded(main)[0].workers == 2


def test_invalid_included_files_are_all_named(write: Write) -> None:
    main = write("main.toml", CONF_D)
    write("conf.d/a.toml", "a =\n")
    write("conf.d/b.toml", "\n\nb =\n")
    lines = refused(main)
    assert [line[:34] for line in lines] == [
        "conf.d/a.toml: is not valid TOML: ",
        "conf.d/b.toml: is not valid TOML: ",
    ]


def test_included_file_includes_nothing(write: Write) -> None:
    main = write("main.toml", CONF_D)
    write("conf.d/a.toml", 'include = ["b.toml"]\n')
    assert refused(main) == [
        "conf.d/a.toml: include: only main.toml may have it (name the files there)"
    ]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may look into every directory")
def test_directory_that_cannot_be_looked_into_is_an_error(write: Write, tmp_path: Path) -> None:
    main = write("main.toml", CONF_D)
    (tmp_path / "conf.d").chmod(0)
    try:
        assert "conf.d cannot be read by user" in refused(main)[0]
    finally:
        (tmp_path / "conf.d").chmod(0o700)


def test_pipe_among_them_does_not_block(write: Write, tmp_path: Path) -> None:
    main = write("main.toml", CONF_D)
    os.mkfifo(tmp_path / "conf.d" / "a.toml")
    assert refused(main) == ["conf.d/a.toml: is not a regular file"]


def test_directory_with_odd_letters_is_no_pattern(tmp_path: Path) -> None:
    place = tmp_path / "a[b]*"
    place.mkdir()
    (place / "main.toml").write_text('include = ["x*.toml"]\n')
    (place / "x.toml").write_text("workers = 3\n")
    assert loaded(place / "main.toml")[0].workers == 3


def test_commands_find_the_daemon_that_an_included_file_moves(write: Write) -> None:
    main = write("main.toml", CONF_D)
    write("conf.d/a.toml", 'state_dir = "/srv/dns"\n')
    assert load_places(main).state_dir == Path("/srv/dns")


def test_rendered_configuration_loads_as_the_same(write: Write, tmp_path: Path) -> None:
    main = write("main.toml", CONF_D)
    write("conf.d/a.toml", "workers = 3\n")
    config, _ = loaded(main)
    (tmp_path / "elsewhere").mkdir()
    again = write("elsewhere/rendered.toml", render(config))
    assert load(again) == config


def test_errors_of_other_files_are_told_beside_one_that_is_not_toml(write: Write) -> None:
    main = write("main.toml", CONF_D + 'workers = "x"\n')
    write("conf.d/a.toml", "a =\n")
    write("conf.d/b.toml", "wrokers = 1\n")
    assert [line.partition(": ")[0] for line in refused(main)] == [
        *("conf.d/a.toml", "main.toml", "conf.d/b.toml")
    ]


def test_invalid_included_file_alone_is_an_error_of_commands_as_well(write: Write) -> None:
    main = write("main.toml", CONF_D)
    write("conf.d/a.toml", "a =\n")
    with pytest.raises(ConfigErrors):
        load_places(main)


@pytest.mark.parametrize(
    ("line", "remedy"),
    [
        ("protect.rebind = yes", "(write true)"),
        ("protect = { rebind = Off }", "(write false)"),
        ("local.domain = lan # ours", '(try "lan")'),
        ("local.hosts = [/etc/hosts]", '(try "/etc/hosts")'),
        ("local.domain = ", "(at line 1, column 16)"),
    ],
)
def test_value_without_quotes_is_told_with_the_remedy(write: Write, line: str, remedy: str) -> None:
    (told,) = refused(write("main.toml", f"{line}\n"))
    assert told.startswith("main.toml: is not valid TOML: Invalid value (at line 1, column ")
    assert told.endswith(remedy)


# ---- paths


def test_relative_path_is_relative_to_the_file_that_names_it(write: Write) -> None:
    main = write(
        "main.toml",
        CONF_D + '[local]\nhosts = ["hosts", "file:more", "/etc/hosts"]\nrecords = ["file:zone"]\n'
        'leases = ["auto", "dhcp/l", "kea:l.csv", "/srv/l"]\n',
    )
    write(
        "conf.d/a.toml",
        '[upstream]\nservers = ["file:../ip"]\n[[rule]]\nnames = ["file:x"]\ncache = false\n'
        '[[forward]]\nname = "f"\ndomains = ["file:list"]\nanswer = "nxdomain"\n'
        '[protect]\nrebind_allow = ["file:y"]\nbogus_answers = ["file:z"]\n',
    )
    write("ip", "192.0.2.1\n")
    config, _ = loaded(main)
    here = main.parent

    assert [str(one) for one in config.local.hosts] == [
        *(f"{here}/hosts", f"{here}/more", "/etc/hosts")
    ]
    assert [str(one) for one in config.local.records] == [f"file:{here}/zone"]
    assert [str(one) for one in config.local.leases] == [
        *("auto", f"{here}/dhcp/l", f"kea:{here}/l.csv", "/srv/l")
    ]
    assert [str(one) for one in config.upstream.servers] == [f"file:{here}/conf.d/../ip"]
    assert [str(one) for one in config.rule[0].names] == [f"file:{here}/conf.d/x"]
    assert [str(one) for one in config.forward[0].domains] == [f"file:{here}/conf.d/list"]
    assert [str(one) for one in config.protect.rebind_allow] == [f"file:{here}/conf.d/y"]
    assert [str(one) for one in config.protect.bogus_answers] == [f"file:{here}/conf.d/z"]


@pytest.mark.parametrize("value", ["aut", "", "dnsmask:x", "kea"])
def test_word_that_is_not_a_path_of_leases_is_still_an_error(write: Write, value: str) -> None:
    (told,) = refused(write("main.toml", f'local.leases = ["{value}"]\n'))
    assert told.startswith("main.toml: local.leases: ")


# ---- rules


def dropped(main: Path) -> list[str]:
    found: list[str] = []
    load(main, state=main.parent / "state", warn=found.append)
    return [line.replace(str(main.parent) + "/", "") for line in found]


def test_setting_that_a_longer_rule_drops_is_told_with_both_rules(write: Write) -> None:
    main = write("main.toml", CONF_D + '[[rule]]\nnames = ["*"]\naaaa = "never"\nstale = "1h"\n')
    write("conf.d/a.toml", '[[rule]]\nnames = ["*.cdn.example", "x.y"]\nmin_ttl = "1m"\n')
    write("conf.d/b.toml", '[[rule]]\nnames = ["file:l"]\naaaa = "if-no-a"\n')
    ending = (
        '"*" (main.toml: rule[0]): rules are not added up (to keep it, set it in this rule as well)'
    )
    assert dropped(main) == [
        'conf.d/a.toml: rule[0]: "*.cdn.example" does not get stale = "1h", aaaa = "never" of '
        + ending,
        'conf.d/b.toml: rule[0]: "file:conf.d/l" does not get stale = "1h" of ' + ending,
    ]


@pytest.mark.parametrize(
    "longer",
    [
        'names = ["*.cdn.example"]\naaaa = ""\nmin_ttl = "2m"\nmax_ttl = "1h"',
        'names = ["*.cdn.example"]\naaaa = "if-no-a"\ncache = false',
        'names = ["cdn.example", "other.test"]\nmax_ttl = "1h"',  # beside it, not below
    ],
)
def test_rule_that_sets_the_key_itself_or_is_not_below_is_not_told(
    write: Write, longer: str
) -> None:
    shorter = 'names = ["*.cdn.example", "*.x.cdn.example", "example"]'
    if "*" in longer:
        shorter = 'names = ["*.example", "example"]'
    text = f'[[rule]]\n{shorter}\naaaa = "never"\nmin_ttl = "1m"\n[[rule]]\n{longer}\n'
    assert dropped(write("main.toml", text)) == []


# ---- twice in one file


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            '[listen]\ndns = ["127.0.0.1:53"]\n\n# all\ndns = ["0.0.0.0:53"]\n',
            "listen.dns is set twice, in lines 2 and 5 (keep one)",
        ),
        (
            "[cache]\n[listen]\n[cache]\n",
            "[cache] appears twice, in lines 1 and 3 (merge them)",
        ),
        ("workers = 1\n'workers' = 2\n", "workers is set twice, in lines 1 and 2 (keep one)"),
        (
            'cache.memory = "1MiB"\nx = [\n"a=b", # [c]\n"""\nd = 1\n"""]\ncache . memory = 2\n',
            "cache.memory is set twice, in lines 1 and 7 (keep one)",
        ),
    ],
)
def test_key_that_stands_twice_is_told_with_both_lines(
    write: Write, text: str, problem: str
) -> None:
    assert refused(write("main.toml", text)) == [f"main.toml: {problem}"]


def test_tables_of_a_list_are_told_apart() -> None:
    text = '[[forward]]\nname = "a"\n[[forward]]\nname = "b"\n[forward.x]\ny = 1\n'
    assert [line.path for line in key_lines(text)] == [
        *("forward[0]", "forward[0].name", "forward[1]", "forward[1].name"),
        *("forward[1].x", "forward[1].x.y"),
    ]
    assert list(doubles(text)) == []


@pytest.mark.parametrize("text", ["", "\n", "=", "[", "]]", '"""', "a = [", "a = '", "#", "= = ="])
def test_lines_of_any_text_can_be_looked_for(text: str) -> None:
    list(doubles(text * 50))
