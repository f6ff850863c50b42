"""The zones that nsd serves to the journeys: one of every kind of answer."""

from __future__ import annotations

import base64

# 20 strings of 250: 5,000 octets.
LONG_TXT = " ".join(f'"{number:02d}{"x" * 248}"' for number in range(20))
KEY = base64.b64encode(bytes(range(3, 67))).decode()

EXAMPLE = f"""$ORIGIN example.demo.
$TTL 3600
@            IN SOA   ns1 hostmaster 2026010101 7200 3600 1209600 300
             IN NS    ns1
             IN NS    ns2
             IN A     192.0.2.10
             IN MX    10 mail
             IN MX    20 mail.elsewhere.demo.
             IN TXT   "v=spf1 -all"
             IN CAA   0 issue "ca.example.net"
             IN CAA   128 iodef "mailto:security@example.demo"
             IN HTTPS 1 . alpn=h2,h3 port=8443 ipv4hint=192.0.2.10 ipv6hint=2001:db8::10
             IN DNSKEY 257 3 13 {KEY}
             IN DNSKEY 256 3 13 {KEY}
ns1          IN A     192.0.2.1
ns2          IN A     192.0.2.2
ns2          IN AAAA  2001:db8::2
mail         IN A     192.0.2.25
mail         IN AAAA  2001:db8::25
www    600   IN A     192.0.2.80
www    600   IN A     192.0.2.81
www    600   IN AAAA  2001:db8::80
short  4     IN A     192.0.2.4
_sip._udp    IN SRV   10 60 5060 mail
_sip._udp    IN SRV   20 0  5060 ns2
texts        IN TXT   "one" "two; three" "a \\"quoted\\" word" "\\000\\255"
odd          IN TYPE65280 \\# 6 0001feff0203
alias        IN CNAME www
chain1 30    IN CNAME chain2
chain2       IN CNAME chain3
chain3       IN CNAME www
dangling     IN CNAME nowhere
away         IN CNAME www.elsewhere.demo.
loop1        IN CNAME loop2
loop2        IN CNAME loop1
old          IN DNAME new
host.new     IN A     192.0.2.90
*.wild       IN A     192.0.2.99
*.wild       IN TXT   "wild"
empty.non.terminal IN A 192.0.2.5
MiXeD        IN A     192.0.2.77
with\\.dot   IN A     192.0.2.46
nul\\000oct  IN A     192.0.2.47
sub          IN NS    ns.sub
ns.sub       IN A     192.0.2.53
large        IN TXT   {LONG_TXT}
{"".join(f"many IN A 198.51.100.{host}" + chr(10) for host in range(1, 41))}
{"".join(f"lots IN AAAA 2001:db8:1::{host:x}" + chr(10) for host in range(1, 61))}
"""

ELSEWHERE = """$ORIGIN elsewhere.demo.
$TTL 1800
@     IN SOA ns1.example.demo. hostmaster.example.demo. 7 7200 3600 1209600 60
      IN NS  ns1.example.demo.
www   IN A   203.0.113.80
mail  IN A   203.0.113.25
"""

ZONES = {"example.demo.": EXAMPLE, "elsewhere.demo.": ELSEWHERE}
