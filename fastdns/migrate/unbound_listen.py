"""The addresses of unbound.conf, over plain DNS, TLS and HTTPS, and the certificate, in a draft."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from ipaddress import ip_address

import attrs

from ..config.files import absolute_path
from .draft import Draft
from .files import addresses_of
from .report import Origin
from .unbound_syntax import Setting

# Of each setting the names that it has had, and the port that stands for it.
PORTS = {"tls": (("tls-port", "ssl-port"), "853"), "https": (("https-port",), "443")}
FILES = {
    "certificate": ("tls-service-pem", "ssl-service-pem"),
    "key": ("tls-service-key", "ssl-service-key"),
}
WORDS = (
    *("port", "do-ip6", "interface-automatic", "interface-automatic-ports", "directory"),
    *("http-endpoint", "http-notls-downstream", "tls-additional-port", "ssl-additional-port"),
    *(word for words, _ in PORTS.values() for word in words),
    *(word for words in FILES.values() for word in words),
)
HTTP_PATH = "/dns-query"
NO_CERTIFICATE = (
    "it needs tls-service-key and tls-service-pem, without which unbound does not encrypt either"
)
NO_TLS = (
    "fastdns takes HTTP without TLS only from proxies; name yours in listen.proxies, and the "
    "address in listen.https"
)


@attrs.define
class Listening:
    """Writes [listen] into a draft. `server`: the last of each setting; `more_tls`: more ports."""

    draft: Draft
    server: Mapping[str, Setting]
    more_tls: Iterable[Setting] = ()

    def write(self, interfaces: Iterable[Setting]) -> None:
        """Write the addresses of these settings, and the certificate if one needs it."""
        port = self.server["port"].value if "port" in self.server else "53"
        automatic = self._yes("interface-automatic")
        if automatic:
            ports = self.server.get("interface-automatic-ports")
            for one in ports.value.split() if ports else [port]:
                for address in ("0.0.0.0", "::"):
                    self._hear(address, one, automatic)
        for setting in interfaces:
            host, _, own_port = setting.value.partition("@")
            if _is_address(host):
                self._hear(host, own_port or port, setting)
            else:
                self._interface(host, own_port or port, setting)
        if not interfaces and not automatic and (port != "53" or self._is_ipv4_only):
            setting = self.server["port"] if port != "53" else self.server["do-ip6"]
            for address in ("127.0.0.1", "::1"):
                self._hear(address, port, setting)
        self._encrypted()

    def _yes(self, keyword: str) -> Setting | None:
        found = self.server.get(keyword)
        return found if found is not None and found.is_yes else None

    @property
    def _is_ipv4_only(self) -> bool:
        found = self.server.get("do-ip6")
        return found is not None and not found.is_yes

    def _interface(self, name: str, port: str, setting: Setting) -> None:
        addresses = addresses_of(name)
        for address in addresses:
            self._hear(address, port, setting, f"an address of {name} now")
        if not addresses:
            self.draft.report.leave_out(
                setting.origin,
                str(setting),
                "fastdns listens on addresses; write those of the interface into listen.dns",
            )

    def _hear(self, host: str, port: str, setting: Setting, note: str = "") -> None:
        service = self._service_of(port)
        if ":" in host and self._is_ipv4_only:
            return
        if service != "dns" and not all(self._file(key) for key in FILES):
            self.draft.report.leave_out(setting.origin, str(setting), NO_CERTIFICATE)
        elif service == "https" and self._yes("http-notls-downstream"):
            self.draft.report.leave_out(setting.origin, str(setting), NO_TLS)
        else:
            text = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
            self.draft.listen_on(text, str(setting), setting.origin, note, service)

    def _service_of(self, port: str) -> str:
        """Return what unbound serves at a port, which is the key of ours."""
        if port in [one.value for one in self.more_tls]:
            return "tls"
        for service, (words, usual) in PORTS.items():
            found = next((self.server[one].value for one in words if one in self.server), usual)
            if port == found:
                return service
        return "dns"

    # ---- what only encrypted services need

    def _file(self, key: str) -> Setting | None:
        found = next((self.server[one] for one in FILES[key] if one in self.server), None)
        return found if found is not None and found.value else None

    def _encrypted(self) -> None:
        listen = self.draft.table("listen")
        heard = [service for service in PORTS if service in listen.keys]
        for key in FILES:
            if setting := self._file(key):
                self._write_file(key, setting, bool(heard))
        if heard and "dns" not in listen.keys:
            self.draft.report.differs(
                Origin(self.draft.source, 0),
                "",
                "has encrypted addresses only; fastdns also serves plain DNS, on 127.0.0.1:53 and "
                "[::1]:53 unless you set listen.dns",
            )
        path = self.server.get("http-endpoint")
        if "https" in heard and path is not None and path.value != HTTP_PATH:
            self.draft.report.differs(
                path.origin, str(path), f"clients of fastdns ask for the path {HTTP_PATH}"
            )

    def _write_file(self, key: str, setting: Setting, is_used: bool) -> None:
        if not is_used:
            self.draft.report.not_needed(
                setting.origin, setting.keyword, "no address needs a certificate"
            )
            return
        with self.draft.told(str(setting), setting.origin):
            directory = self.server.get("directory")
            path = os.path.join(directory.value if directory else "/etc/unbound", setting.value)
            self.draft.table("listen").set(key, str(absolute_path(path)), setting.origin)
        if key == "key":
            self.draft.report.differs(
                setting.origin,
                setting.keyword,
                "the user of fastdns.service must be able to read it, unlike unbound's; copy "
                "both files to /etc/fastdns (fastdns certificate shows what they hold)",
            )


def _is_address(text: str) -> bool:
    try:
        ip_address(text.partition("%")[0])
    except ValueError:
        return False
    return True
