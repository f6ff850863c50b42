"""`fastdns doctor` and who holds the port."""

from __future__ import annotations

import json

from ..support.box import UPSTREAM, Box
from ..support.client import eventually

DNSMASQ = ["dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--address=/#/192.0.2.1"]


def test_machine_on_which_all_is_well_has_status_0(served: Box) -> None:
    told = json.loads(served.doctor("--json", status=0))

    assert told["ok"]
    assert {one["state"] for one in told["findings"]} <= {"ok", "hint"}
    assert "wrong" not in served.doctor(status=0)


def test_holder_of_the_port_is_named_with_its_pid(box: Box) -> None:
    box.start_upstream()
    pid = box.start(*DNSMASQ, "--bind-interfaces", "--listen-address=127.0.0.1")
    eventually(lambda: box.resolves("@127.0.0.1", "x.example"), bool)

    (found,) = (one for one in box.findings("port", status=1) if one["state"] == "wrong")

    assert found["text"].startswith(f"dnsmasq (pid {pid}")
    assert "127.0.0.1:53 (UDP and TCP)" in found["text"]
    assert found["do"]


def test_holder_of_a_wildcard_is_in_the_way_of_every_address(box: Box) -> None:
    pid = box.start(*DNSMASQ)
    eventually(lambda: box.resolves("@127.0.0.1", "x.example"), bool)

    (found,) = (one for one in box.findings("port", status=1) if one["state"] == "wrong")

    assert f"(pid {pid}" in found["text"]
    assert "conflicts with 127.0.0.1:53 and [::1]:53" in found["text"]


def test_others_on_the_same_port_of_other_addresses_do_no_harm(served: Box) -> None:
    (found,) = served.findings("port", status=0)

    assert found["state"] == "ok"
    assert found["text"].startswith("unbound (pid ")
    assert f"listens on {UPSTREAM}:53, which does not conflict" in found["text"]
