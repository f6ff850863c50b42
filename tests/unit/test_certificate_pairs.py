"""Certificates and keys as files hold them: what they say, and what is wrong with a pair."""

from __future__ import annotations

import contextlib
import ssl
import subprocess
from pathlib import Path

import pytest
from tls_peers import Client, client_context, left_error

from fastdns._certificate import PairError, make_self_signed, read_certificate, read_pair
from fastdns._ticket_keys import TicketKeys
from fastdns._tls import ServerContext

NOW = 1_800_000_000
DAY = 86_400
CHAIN, KEY = make_self_signed(["dns.demo", "*.views.demo", "192.0.2.1", "2001:db8::1"], 30, now=NOW)


def openssl(folder: Path, *words: str) -> bytes:
    """Run openssl in the folder; return what it has written to `out`."""
    subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True, timeout=60)
    return (folder / "out").read_bytes()


def request(folder: Path, kind: str, option: str, *words: str) -> tuple[bytes, bytes]:
    """Return a self-signed certificate and its key as openssl makes them."""
    made = ["req", "-x509", "-nodes", "-subj", "/O=An office/CN=dns.demo", "-days", "30", *words]
    made += ["-newkey", kind, "-pkeyopt", option] if option else ["-newkey", kind]
    chain = openssl(folder, *made, "-keyout", "key", "-out", "out")
    return chain, (folder / "key").read_bytes()


# ---- a pair of our own


def test_self_signed_certificate_says_what_was_asked_for() -> None:
    found = read_pair(CHAIN, KEY)

    assert found.names == ("dns.demo", "*.views.demo", "192.0.2.1", "2001:db8::1")
    assert found.not_after == NOW + 30 * DAY
    assert NOW - DAY < found.not_before < NOW
    assert found.issuer == "CN=dns.demo"
    assert found.is_self_signed
    assert found.key_kind == "ECDSA P-256"
    assert found.length == 1
    assert read_certificate(CHAIN).names == found.names


def test_clients_that_are_given_the_certificate_believe_it_for_its_names_only() -> None:
    chain, key = make_self_signed(["dns.demo", "192.0.2.1"], 30)
    server = ServerContext(chain, key, TicketKeys(), "dot")
    context = client_context(chain=chain)

    for name in ("dns.demo", "192.0.2.1"):
        assert Client(server, context, name=name).connect().ask(b"query") == b"query"
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        Client(server, context, name="other.demo").connect()


def test_self_signed_certificate_cannot_vouch_for_another(tmp_path: Path) -> None:
    (tmp_path / "out").write_bytes(CHAIN)
    text = subprocess.check_output(
        ["openssl", "x509", "-in", tmp_path / "out", "-noout", "-text"], text=True
    )
    assert "CA:FALSE" in text
    assert "TLS Web Server Authentication" in text
    assert "Certificate Sign" not in text


@pytest.mark.parametrize(
    ("names", "days", "line"),
    [
        ([], 30, "needs a name"),
        (["dns.demo"], 0, "0 days"),
        (["dns.demo"], 40_000, "40000 days"),
        (["dns.demo,DNS:bank.demo"], 30, "neither a domain name nor an address"),
        (["a b"], 30, "neither"),
        (["-a.demo"], 30, "neither"),
        ([""], 30, "neither"),
        (["a." * 130 + "demo"], 30, "neither"),
        (["192.0.2.1/24"], 30, "neither"),
        (["dns.demo\n"], 30, "neither"),
    ],
)
def test_wrong_wish_is_told_in_a_line(names: list[str], days: int, line: str) -> None:
    with pytest.raises(ValueError, match=line):
        make_self_signed(names, days)


def test_long_names_and_many_names_fit() -> None:
    names = ["a" * 60 + ".demo", *(f"n{number}.demo" for number in range(200))]
    assert list(read_pair(*make_self_signed(names, 1)).names) == names


@pytest.mark.parametrize(
    ("name", "is_covered"),
    [
        ("dns.demo", True),
        ("DNS.demo.", True),
        ("kids.dns.demo", False),
        ("a.views.demo", True),
        ("views.demo", False),
        ("a.b.views.demo", False),
        ("192.0.2.1", True),
        ("192.0.2.2", False),
        ("2001:DB8:0:0::1", True),
    ],
)
def test_names_are_covered_as_clients_compare_them(name: str, is_covered: bool) -> None:
    assert read_certificate(CHAIN).covers(name) is is_covered


# ---- pairs of others


@pytest.mark.parametrize(
    ("kind", "option", "told"),
    [
        ("rsa", "rsa_keygen_bits:2048", "RSA 2048"),
        ("ec", "ec_paramgen_curve:P-384", "ECDSA P-384"),
        ("ed25519", "", "Ed25519"),
    ],
)
def test_kinds_that_clients_know_can_be_used(
    tmp_path: Path, kind: str, option: str, told: str
) -> None:
    chain, key = request(tmp_path, kind, option)
    found = read_pair(chain, key)
    assert found.key_kind == told
    assert found.issuer == "CN=dns.demo,O=An office"
    assert found.names == ()
    server = ServerContext(chain, key, TicketKeys(), "dot")
    context = client_context(chain=chain)
    context.check_hostname = False
    assert Client(server, context).connect().ask(b"query") == b"query"


@pytest.mark.parametrize(
    ("kind", "option", "line"),
    [
        ("rsa", "rsa_keygen_bits:1024", "an RSA key of 1024 bits; clients demand 2048"),
        ("ec", "ec_paramgen_curve:secp256k1", "on the curve secp256k1; clients know P-256"),
    ],
)
def test_kinds_that_clients_refuse_are_told(
    tmp_path: Path, kind: str, option: str, line: str
) -> None:
    with pytest.raises(PairError, match=line) as told:
        read_pair(*request(tmp_path, kind, option))
    assert not told.value.is_about_key


def test_key_in_the_older_form_with_parameters_before_it_is_read(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(KEY)
    old = openssl(tmp_path, "ec", "-in", "key", "-out", "out")
    assert b"BEGIN EC PRIVATE KEY" in old
    parameters = openssl(tmp_path, "ecparam", "-name", "prime256v1", "-out", "out")
    assert read_pair(CHAIN, parameters + old).key_kind == "ECDSA P-256"
    assert ServerContext(CHAIN, parameters + old, TicketKeys(), "dot")


def test_one_file_may_be_both() -> None:
    for both in (KEY + CHAIN, CHAIN + KEY):
        assert read_pair(both, both).length == 1
        assert ServerContext(both, both, TicketKeys(), "dot")


@pytest.mark.parametrize("form", ["pkcs8", "traditional"])
def test_encrypted_key_is_told_with_the_remedy(tmp_path: Path, form: str) -> None:
    (tmp_path / "key").write_bytes(KEY)
    words = ["pkey"] if form == "pkcs8" else ["ec"]
    locked = openssl(
        tmp_path, *words, "-in", "key", "-aes128", "-passout", "pass:secret", "-out", "out"
    )
    with pytest.raises(PairError, match=r"encrypted.*openssl pkey -in OLD -out NEW") as told:
        read_pair(CHAIN, locked)
    assert told.value.is_about_key


DAMAGED_KEY = KEY[:60] + KEY[100:]
DAMAGED = CHAIN[:100] + CHAIN[200:]
OTHER_CHAIN, OTHER_KEY = make_self_signed(["other.demo"], 30)


@pytest.mark.parametrize(
    ("chain", "key", "line", "is_about_key"),
    [
        (b"", KEY, "no certificate in PEM form", False),
        (b"\x30\x82" + bytes(500), KEY, "no certificate in PEM form", False),
        (KEY, CHAIN, "only a key in it; are the two files exchanged", False),
        (DAMAGED, KEY, "the certificate is damaged", False),
        (CHAIN[:-40], KEY, "the certificate is damaged", False),
        (CHAIN + DAMAGED, KEY, "certificate number 2 is damaged", False),
        (CHAIN + CHAIN[:100], KEY, "certificate number 2 is damaged", False),
        (OTHER_CHAIN + CHAIN, KEY, "number 2 in its file; it has to be the first", False),
        (CHAIN, b"", "no key in PEM form", True),
        (CHAIN, CHAIN, "no key in PEM form", True),
        (CHAIN, DAMAGED_KEY, "the key is damaged", True),
        (CHAIN, KEY[:-40], "the key is damaged", True),
        (CHAIN, OTHER_KEY, "the key belongs to another certificate", True),
    ],
    # The pairs are made anew in each process.
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_wrong_pair_is_told_in_a_line(
    chain: bytes, key: bytes, line: str, is_about_key: bool
) -> None:
    with pytest.raises(PairError, match=line) as told:
        read_pair(chain, key)
    assert told.value.is_about_key is is_about_key
    assert "\n" not in str(told.value)


def test_issuers_behind_the_certificate_are_counted() -> None:
    assert read_pair(CHAIN + OTHER_CHAIN + b"\nsome words\n", KEY).length == 2


def test_signature_that_clients_refuse_is_told(tmp_path: Path) -> None:
    request(tmp_path, "rsa", "rsa_keygen_bits:2048")
    (tmp_path / "issuer").write_bytes((tmp_path / "out").read_bytes())
    (tmp_path / "issuer_key").write_bytes((tmp_path / "key").read_bytes())
    words = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-keyout", "key"]
    openssl(tmp_path, "req", "-new", "-nodes", "-subj", "/CN=dns.demo", *words, "-out", "out")
    (tmp_path / "request").write_bytes((tmp_path / "out").read_bytes())
    words = ["-CA", "issuer", "-CAkey", "issuer_key", "-in", "request", "-sha1", "-out", "out"]
    chain = openssl(tmp_path, "x509", "-req", *words)
    with pytest.raises(PairError, match="SHA-1"):
        read_pair(chain, (tmp_path / "key").read_bytes())


def test_damaged_certificates_never_do_more_than_fail() -> None:
    for at in range(0, len(CHAIN), 3):
        damaged = CHAIN[:at] + b"A" + CHAIN[at + 1 :]
        with contextlib.suppress(PairError):
            read_pair(damaged, KEY)


def test_failures_leave_nothing_for_the_ssl_of_python() -> None:
    for chain, key in ((DAMAGED, KEY), (CHAIN, DAMAGED_KEY), (CHAIN, OTHER_KEY)):
        with pytest.raises(PairError):
            read_pair(chain, key)
        assert left_error() == 0
