"""Types of records as people write them: by name, or as TYPE65280 (RFC 3597 section 5)."""

from __future__ import annotations

import re

from .text import describe

_NUMBERED = re.compile(r"(TYPE|CLASS)([0-9]{1,5})")

TYPES = {
    name: number
    for first, names in (
        (1, "A NS MD MF CNAME SOA MB MG MR NULL WKS PTR HINFO MINFO MX TXT RP AFSDB X25 ISDN RT"),
        (22, "NSAP NSAP-PTR SIG KEY PX GPOS AAAA LOC NXT EID NIMLOC SRV ATMA NAPTR KX CERT A6"),
        (39, "DNAME SINK OPT APL DS SSHFP IPSECKEY RRSIG NSEC DNSKEY DHCID NSEC3 NSEC3PARAM TLSA"),
        (53, "SMIMEA"),
        (55, "HIP NINFO RKEY TALINK CDS CDNSKEY OPENPGPKEY CSYNC ZONEMD SVCB HTTPS DSYNC HHIT"),
        (68, "BRID"),
        (99, "SPF UINFO UID GID UNSPEC NID L32 L64 LP EUI48 EUI64"),
        (128, "NXNAME"),
        (249, "TKEY TSIG IXFR AXFR MAILB MAILA ANY URI CAA AVC DOA AMTRELAY RESINFO WALLET"),
        (263, "CLA IPN"),
        (32768, "TA DLV"),
    )
    for number, name in enumerate(names.split(), start=first)
}


def parse_type(text: str) -> int:
    """Return the number of a type given by name or as TYPE65280; ValueError with one phrase."""
    number = number_of(text, "TYPE", TYPES)
    if number is None:
        remedy = f"TYPE{int(text)}" if re.fullmatch("[0-9]{1,5}", text) else "AAAA or TYPE65280"
        raise ValueError(f"{describe(text)} is not a record type (try {remedy})")
    return number


def number_of(text: str, prefix: str, names: dict[str, int]) -> int | None:
    """Return the number of a type or class, by name or as prefix and number; None: no such."""
    spelled = text.upper()
    if spelled in names:
        return names[spelled]
    numbered = _NUMBERED.fullmatch(spelled)
    if numbered and numbered[1] == prefix and int(numbered[2]) <= 65535:
        return int(numbered[2])
    return None
