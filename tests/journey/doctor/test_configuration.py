"""`fastdns doctor` and the configuration: of the file, of the command line, of before."""

from __future__ import annotations

import sys

import pytest

from ..support.box import Box
from ..support.client import eventually


def test_daemon_with_addresses_of_its_command_line_is_judged_by_these(box: Box) -> None:
    box.start_upstream()
    box.start_fastdns("--listen", "127.0.0.1:5353", port=5353)

    found = box.findings("daemon", status=0)

    assert {one["state"] for one in found} == {"ok"}
    assert "answers on 127.0.0.1:5353, over UDP and TCP" in found[0]["text"]
    assert "it was started with --listen" in found[-1]["text"]


def test_daemon_with_an_earlier_configuration_is_judged_by_its_real_addresses(
    served: Box,
) -> None:
    served.write("fastdns/fastdns.toml", '[listen]\ndns = ["127.0.0.1:5300"]\n')

    found = served.findings("daemon", status=0)

    assert "answers on 127.0.0.1:53 and [::1]:53" in found[0]["text"]
    assert (found[-1]["state"], found[-1]["do"]) == ("hint", "fastdns reload")
    assert "the configuration says 127.0.0.1:5300" in found[-1]["text"]
    assert served.findings("resolver", status=0)[0]["state"] == "ok"


def test_state_dir_that_was_changed_since_is_no_daemon_that_does_not_run(served: Box) -> None:
    served.write("fastdns/fastdns.toml", 'state_dir = "/var/lib/other"\n')

    found = served.findings("daemon", status=1)

    (changed,) = (one for one in found if one["state"] == "wrong")
    assert "runs with state_dir /var/lib/fastdns" in changed["text"]
    assert "the configuration says /var/lib/other" in changed["text"]
    assert any("answers on 127.0.0.1:53" in one["text"] for one in found)
    reload = served.run(sys.executable, "-m", "fastdns", "reload")
    assert reload.returncode == 1
    assert "runs with state_dir /var/lib/fastdns, which cannot change" in reload.stderr


def test_lists_and_local_files_and_servers_of_groups_are_examined(served: Box) -> None:
    served.write("list", "".join(f"no domain {number}\n" for number in range(7)))
    served.write(
        "fastdns/fastdns.toml",
        '[local]\nhosts = ["/etc/none"]\n[[forward]]\nname = "corp"\n'
        'domains = ["corp.demo", "file:/etc/list"]\nservers = ["127.0.9.8"]\n',
    )

    found = served.findings("names", status=1)  # the server of the group is dead

    assert {one["state"] for one in found} == {"hint"}
    assert [one["text"].partition(": ")[0] for one in found[:-1]] == [
        f"/etc/list:{line}" for line in range(1, 6)
    ]
    assert found[-1]["text"] == "4 more problems of lists and local files"
    assert found[-1]["do"] == "fastdns check names all; mend the files, then fastdns reload"
    *_, dead = served.findings("upstream", status=1)
    assert dead["state"] == "wrong"
    assert dead["text"] == "127.0.9.8:53 does not answer: Connection refused (of group corp)"


@pytest.mark.parametrize("refuse", ["refused", "drop"])
def test_machine_that_may_not_ask_itself_is_told_the_rule(box: Box, refuse: str) -> None:
    box.start_upstream()
    denied = f'deny = ["127.0.0.1"]\nrefuse = "{refuse}"\n'
    box.write("fastdns/fastdns.toml", f'[listen]\ndns = ["127.0.0.1:53"]\n[access]\n{denied}')
    box.start(sys.executable, "-m", "fastdns", "serve")
    eventually(lambda: box.run("test", "-e", "/run/fastdns/supervisor").returncode == 0, bool)

    found = box.findings("daemon", status=1)

    assert [one["state"] for one in found] == ["wrong"]
    assert "this machine (" in found[0]["text"]
    assert found[0]["text"].endswith(': access.deny has "127.0.0.1"')
    assert "allow 127.0.0.1 under [access]" in found[0]["do"]


def test_rule_that_the_daemon_still_has_and_the_file_no_more_takes_a_reload(box: Box) -> None:
    box.start_upstream()
    listen = '[listen]\ndns = ["127.0.0.1:53"]\n'
    box.write("fastdns/fastdns.toml", f'{listen}[access]\ndeny = ["127.0.0.0/8"]\n')
    box.start(sys.executable, "-m", "fastdns", "serve")
    eventually(lambda: box.run("test", "-e", "/run/fastdns/supervisor").returncode == 0, bool)
    box.write("fastdns/fastdns.toml", listen)

    (found,) = box.findings("daemon", status=1)

    assert "(REFUSED, Extended DNS Error 18), but the configuration allows it" in found["text"]
    assert found["do"] == "fastdns reload"


def test_commands_that_are_advised_name_the_same_file(box: Box) -> None:
    box.start_upstream()
    box.write("fastdns/own.toml", '[listen]\ndns = ["127.0.0.1:5353"]\n')
    named = ("-c", "/etc/fastdns/own.toml")

    told = box.doctor(*named, status=1)
    assert "do: fastdns serve -c /etc/fastdns/own.toml\n" in told

    box.start_fastdns(*named, "--state", "/var/lib/own", port=5353)
    box.write("fastdns/own.toml", '[listen]\ndns = ["127.0.0.1:5300"]\n')
    told = box.doctor(*named, "--state", "/var/lib/own", status=0)
    assert "do: fastdns reload -c /etc/fastdns/own.toml --state /var/lib/own\n" in told


def test_open_resolver_is_a_hint_of_doctor_and_a_warning_of_check(box: Box) -> None:
    box.start_upstream()
    box.run("ip", "address", "add", "203.0.113.5/32", "dev", "lo")
    listen = '[listen]\ndns = ["127.0.0.1:53", "203.0.113.5:53"]\n'
    box.write("fastdns/fastdns.toml", f'{listen}[access]\nallow = ["loopback", "0.0.0.0/0"]\n')
    box.start_fastdns()

    checked = box.run(sys.executable, "-m", "fastdns", "check")

    assert "203.0.113.5:53 is an open resolver" in checked.stderr
    assert checked.returncode == 0

    (found,) = box.findings("access", status=0)
    assert (found["state"], "open resolver" in found["text"]) == ("hint", True)


def test_configuration_that_names_others_than_upstream_given_is_told_not_to_count(box: Box) -> None:
    box.start_upstream("127.0.9.8")
    box.write("fastdns/fastdns.toml", '[upstream]\nservers = ["127.0.9.7"]\n')
    box.start_fastdns("--upstream=127.0.9.8")

    found = box.findings("upstream", status=0)

    assert [one["state"] for one in found] == ["ok", "ok"]
    assert "the configuration names 127.0.9.7:53, which no reload changes" in found[1]["text"]


def test_daemon_with_a_file_of_its_own_is_judged_by_that_file(box: Box) -> None:
    box.start_upstream("127.0.9.8")
    box.write(
        "fastdns/own.toml",
        '[listen]\ndns = ["127.0.0.1:5353"]\n[upstream]\nservers = ["127.0.9.8"]\n',
    )
    where = ("--state", "/var/lib/own")
    box.start_fastdns("-c", "/etc/fastdns/own.toml", *where, port=5353)

    told = box.doctor(*where, status=0)

    assert "/etc/fastdns/own.toml is valid" in told
    assert "127.0.9.8:53 answers" in told
    assert "fastdns reload" not in told


def test_every_error_of_a_configuration_is_told(box: Box) -> None:
    box.write("fastdns/fastdns.toml", 'workers = "x"\n[cache]\nmemory = 7\n')

    found = box.findings("configuration", status=1)

    assert ["workers" in found[0]["text"], "cache.memory" in found[1]["text"]] == [True, True]
    assert len(found) == 2


def test_daemon_that_goes_on_with_an_earlier_configuration_is_named(served: Box) -> None:
    served.write("fastdns/fastdns.toml", 'workers = "x"\n[cache]\nmemory = 7\n')

    (found,) = served.findings("daemon", status=1)

    assert f"fastdns (pid {served.started[-1].pid}) still uses" in found["text"]
    assert served.doctor(status=1).count("do: fastdns check") == 1
