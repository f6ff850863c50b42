"""The safe hosts of search engines: names whose answers are those of a host with safe results only.

Each engine documents its safe host for networks that want it, as a CNAME record.
"""

from __future__ import annotations

from collections.abc import Iterator

from .._local import LocalBuilder, LocalRecords
from ..config.names import parse_name
from ..config.values import CNAME

TTL = 300
# Second-level domains of Google, https://www.google.com/supported_domains: "" is google.com.
_GOOGLE = (
    "ad ae al am as at az ba be bf bg bi bj bs bt by ca cat cd cf cg ch ci cl cm cn co.ao co.bw "
    "co.ck co.cr co.id co.il co.in co.jp co.ke co.kr co.ls co.ma co.mz co.nz co.th co.tz co.ug "
    "co.uk co.uz co.ve co.vi co.za co.zm co.zw com com.af com.ag com.ar com.au com.bd com.bh "
    "com.bn com.bo com.br com.bz com.co com.cu com.cy com.do com.ec com.eg com.et com.fj com.gh "
    "com.gi com.gt com.hk com.jm com.kh com.kw com.lb com.ly com.mm com.mt com.mx com.my com.na "
    "com.ng com.ni com.np com.om com.pa com.pe com.pg com.ph com.pk com.pr com.py com.qa com.sa "
    "com.sb com.sg com.sl com.sv com.tj com.tr com.tw com.ua com.uy com.vc com.vn cv cz de dj dk "
    "dm dz ee es fi fm fr ga ge gg gl gm gp gr gy hn hr ht hu ie im iq is it je jo kg ki kz la li "
    "lk lt lu lv md me mg mk ml mn mu mv mw ne nl no nr nu pl pn ps pt ro rs ru rw sc se sh si sk "
    "sm sn so sr st td tg tk tl tm tn to tt vg vu ws"
)
_YANDEX = "az by co.il com com.am com.ge com.tr ee fr kg kz lt lv md pl ru tj tm ua uz"

# The safe host, and the hosts that it stands for.
SAFE_HOSTS: dict[str, tuple[str, ...]] = {
    "forcesafesearch.google.com": tuple(
        f"{host}google.{domain}" for domain in _GOOGLE.split() for host in ("", "www.")
    ),
    "strict.bing.com": ("bing.com", "www.bing.com", "edgeservices.bing.com"),
    "safe.duckduckgo.com": (
        *("duckduckgo.com", "www.duckduckgo.com", "start.duckduckgo.com"),
        *("html.duckduckgo.com", "lite.duckduckgo.com", "noai.duckduckgo.com"),
    ),
    "restrict.youtube.com": (
        *("www.youtube.com", "m.youtube.com", "youtubei.googleapis.com"),
        *("youtube.googleapis.com", "www.youtube-nocookie.com"),
    ),
    "familysearch.yandex.ru": (
        *(f"{host}yandex.{domain}" for domain in _YANDEX.split() for host in ("", "www.")),
        *("ya.ru", "www.ya.ru"),
    ),
    "safesearch.pixabay.com": ("pixabay.com",),
    "strict-safe-search.ecosia.org": ("www.ecosia.org",),
    "forcesafe.search.brave.com": ("search.brave.com",),
    "safeapi.qwant.com": ("api.qwant.com",),
}


def safe_names() -> LocalRecords:
    """Return the records that lead to the safe hosts."""
    builder = LocalBuilder()
    for name, target in _records():
        builder.add(parse_name(name), CNAME, TTL, parse_name(target), 0)
    return builder.compile()


def _records() -> Iterator[tuple[str, str]]:
    for target, names in SAFE_HOSTS.items():
        yield from ((name, target) for name in names)
