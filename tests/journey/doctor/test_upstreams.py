"""`fastdns doctor` and the upstreams: whom it judges, and what it says of them."""

from __future__ import annotations

from ..support.box import RESOLV_CONF, UPSTREAM, Box


def test_upstream_that_refuses_is_not_said_to_be_out_of_reach(box: Box) -> None:
    box.start_upstream("127.0.9.8", access="refuse")
    box.write("fastdns/fastdns.toml", '[upstream]\nservers = ["127.0.9.8"]\n')

    (found,) = box.findings("upstream", status=1)

    assert "answers REFUSED to . NS: it does not serve this address" in found["text"]
    assert found["do"] == "name another one in upstream.servers, or allow this machine there"


def test_upstream_that_is_dead_is_named(box: Box) -> None:
    (found,) = box.findings("upstream", status=1)
    assert found["state"] == "wrong"
    told = f"{UPSTREAM}:53 does not answer: Connection refused (from /etc/resolv.conf)"
    assert found["text"] == told


def test_dead_upstream_beside_one_that_answers_is_only_a_hint(served: Box) -> None:
    served.write("resolv.conf", f"{RESOLV_CONF}nameserver 127.0.9.8\n")
    assert [one["state"] for one in served.findings("upstream", status=0)] == ["ok", "hint"]


def test_upstreams_of_the_command_line_are_judged_and_no_reload_is_advised(box: Box) -> None:
    box.start_upstream("127.0.9.8")  # the one of resolv.conf is dead
    box.start_fastdns("--upstream", "127.0.9.8")

    (found,) = box.findings("upstream", status=0)

    assert found["state"] == "ok"
    assert found["text"].startswith("127.0.9.8:53 answers")
    assert found["text"].endswith("(given by --upstream)")
    assert "fastdns reload" not in box.doctor(status=0)


def test_upstreams_of_an_earlier_configuration_are_judged_and_a_reload_is_advised(
    served: Box,
) -> None:
    served.write("fastdns/fastdns.toml", '[upstream]\nservers = ["127.0.9.7"]\n')

    found = served.findings("upstream", status=0)

    assert found[0]["text"].startswith(f"{UPSTREAM}:53 answers")
    assert (found[-1]["state"], found[-1]["do"]) == ("hint", "fastdns reload")
    assert f"asks {UPSTREAM}:53; the configuration names 127.0.9.7:53" in found[-1]["text"]


def test_upstream_that_takes_no_tcp_is_named_with_what_fails_and_the_remedy(box: Box) -> None:
    box.start_upstream(tcp=False)

    found = box.findings("upstream", status=1)

    assert [one["state"] for one in found] == ["ok", "wrong"]
    refused = "53 answers over UDP, but not over TCP (Connection refused)"
    assert f"{UPSTREAM}:{refused}" in found[1]["text"]
    assert "answers that are too large for UDP" in found[1]["text"]
    assert "TCP from this machine to its port 53" in found[1]["do"]
