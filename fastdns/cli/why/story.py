"""What is known of one question: who may ask, what is decided, what is kept, who would be asked."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from ipaddress import IPv4Address, IPv6Address
from itertools import product
from pathlib import Path

import attrs

from ..._clients import Access
from ..._control import CHANGE_REFRESH, Control, change_covers
from ..._counters import UpstreamState
from ..._entry import newer
from ..._key import disk_key
from ..._policy import Policy
from ...browse.items import Item, Judge, read_item
from ...browse.names import Key, spell_name, spell_type
from ...browse.pending import Pending, newest_pending
from ...browse.reader import CacheAbsent, Reader
from ...browse.records import Record, targets_of
from ...config.documents import Documents, read_documents
from ...config.filters import View
from ...config.groups import Forward, Upstream
from ...config.load import DEFAULT_FILE, load
from ...config.places import Places
from ...config.schema import Config
from ...config.text import describe, path_text
from ...config.values import AnyViewClient, ClientName, Identity, Mac
from ...errors import FastdnsError
from ...lists.copies import open_copy
from ...lists.store import Store
from ...machine.lan import read_lan
from ...machine.own_names import own_names
from ...machine.state_lock import holder
from ...policy.access import Lan, compile_access, rule_for, spell_clients
from ...policy.block_lists.named import lists_named
from ...policy.blocking import About, with_blocking
from ...policy.blocking_now import blocking_now
from ...policy.compile import compile_domains, lists_of
from ...policy.explain import Explanation, explain, filtering_of
from ...policy.explain_blocking import BlockedTarget, Filtering, OpenList, blocked_target
from ...policy.local_names import Names
from ...policy.schedule import in_force
from ...policy.views import (
    ViewRules,
    addresses_of_name,
    mac_octets,
    narrow,
    unknown_identity,
    wide,
)
from ...policy.words import counted
from ...upstream.sources import Sources
from ..cache.obstacles import LEADS_TO_BLOCKED, obstacle
from ..cache.site import Site, find_site
from ..client_names import ClientNames
from ..lists.site import number_of_view
from ..running import NotRunning, newest_pages, told_by_supervisor

Address = IPv4Address | IPv6Address
Who = Address | Mac | ClientName | Identity
DISK, RING = "disk", "ring"


@attrs.frozen
class Client:
    """Who asks, whether that is allowed, and in which view it is.

    `view`: its number, 0 for none; `view_reason`: by what it is in it, and until when.
    """

    address: Address | None  # None: it is not known
    may_ask: bool
    rule: str
    is_dropped: bool = False  # refused without an answer
    view: int = 0
    view_name: str = ""
    view_reason: str = ""
    who: str = ""  # as the user named it

    @property
    def spelled(self) -> str:
        """Its name for people."""
        if self.address is None:
            return self.who
        return (
            str(self.address) if self.who == str(self.address) else f"{self.who} ({self.address})"
        )


@attrs.frozen
class Kept:
    """An answer in the cache. `obstacle`: why it is not served; "": it is."""

    item: Item
    tier: str
    obstacle: str = ""
    target: BlockedTarget | None = None  # the obstacle, if it is that

    @property
    def is_plain(self) -> bool:
        """Whether it is that for a client that sets neither DO nor CD."""
        return not (self.item.key.do or self.item.key.cd)


@attrs.frozen
class Asked:
    """An upstream that would be asked. `state`: None without a daemon that knows it."""

    name: str
    state: UpstreamState | None = None


@attrs.frozen
class Daemon:
    """The running daemon. `pid`: 0 is unknown; None: it is not known whether one runs."""

    pid: int | None
    responds: bool
    upstreams: Sequence[UpstreamState] = ()


@attrs.frozen
class Pause:
    """A pause of blocking. `filtering`: what blocks the name once it is over."""

    until: float | None  # by the wall clock; None: until it is resumed
    filtering: Filtering | None


@attrs.frozen
class Story:
    """All about one question."""

    key: Key
    config: Config
    policy: Policy
    client: Client
    explanation: Explanation
    kept: tuple[Kept, ...]  # the plain one first
    upstreams: tuple[Asked, ...]
    daemon: Daemon | None
    site: Site | None
    notes: tuple[str, ...]
    unread: tuple[str, ...] = ()  # files of which the daemon may know a former content
    pause: Pause | None = None

    @property
    def name(self) -> str:
        return spell_name(self.key.name)

    @property
    def question(self) -> str:
        return f"{self.name} {spell_type(self.key.qtype)}"

    @property
    def is_forwarded(self) -> bool:
        """Whether upstreams are asked for it."""
        return self.explanation.decided.verdict == "forward"

    @property
    def blocks_chains(self) -> bool:
        """Whether an answer is blocked because it leads to a name that is blocked."""
        found, blocking = self.explanation.filtering, self.policy.blocking
        is_on = blocking.blocks and blocking.views[self.client.view].blocks
        return is_on and (found is None or not found.allows)

    @property
    def plain(self) -> Kept | None:
        """The entry for a client that sets neither DO nor CD."""
        return next((one for one in self.kept if one.is_plain), None)


def tell(
    key: Key, who: Who, path: Path | None, state: str | None, view: str | None = None
) -> Story:
    """Return the story of a question of a client, or of one that is in this view.

    ConfigErrors: the configuration is not valid. FastdnsError: it has no such view, or nobody here
    has that name.
    """
    config = load(path, state=state)
    domains = compile_domains(config)
    local = own_names(config)
    notes: list[str] = []
    client = _client(config, local.names, who)
    if isinstance(who, Identity) and (line := unknown_identity(config.view, who)):
        notes.append(line)
    if view is not None:
        number = number_of_view(config, view)
        client = attrs.evolve(client, view=number, view_name=view, view_reason="as asked")
    policy = domains.policy(local.records, blocking_now(config, time.time(), notes.append))
    documents = _documents(path)
    # A view stands in the key where the disk has a group.
    asked = key._replace(group=client.view).join()
    explanation = explain(
        *(config, policy, asked, local.names, documents.spell), open_list=copies_of(config)
    )
    files = [*_files(documents, path), *lists_of(config)]
    unread = [one for one in dict.fromkeys(lists_of(config)) if not domains.has_read(one)]
    unread += local.unread
    problems = len(domains.problems) + len(local.problems)
    if problems:
        notes.append(f"{counted(problems, 'problem')} of lists and local files (see fastdns check)")
    site = _site(path, state, notes)
    daemon = _daemon(Places(config.state_dir, config.run_dir), files, notes)
    if daemon is None:
        unread = []
    notes += _unread_notes(unread, (*domains.problems, *local.problems))
    kept: tuple[Kept, ...] = ()
    group = explanation.group
    is_forwarded = explanation.decided.verdict == "forward"
    if is_forwarded and site is not None:
        of_group = key._replace(group=explanation.decided.group)
        judge = site.judge()
        if explanation.rule is not None and explanation.rule.rule.stale is not None:
            judge = attrs.evolve(judge, stale=int(explanation.rule.rule.stale))
        kept = tuple(_kept(site, of_group, policy, judge, notes, view=client.view))
    return Story(
        key=key,
        config=config,
        policy=policy,
        client=client,
        explanation=explanation,
        kept=kept,
        upstreams=tuple(_upstreams(config, group, daemon)) if is_forwarded else (),
        daemon=daemon,
        site=site,
        notes=tuple(notes),
        unread=tuple(map(path_text, unread)),
        pause=_pause(config, policy, asked),
    )


def _pause(config: Config, policy: Policy, key: bytes) -> Pause | None:
    """Return the pause, if there is one, and what blocks the name without it."""
    about = policy.blocking.about
    if not isinstance(about, About) or not about.is_paused:
        return None
    blocking = blocking_now(config, time.time(), ignores_pause=True)
    resumed = with_blocking(policy, blocking)
    found = filtering_of(config, resumed, key, resumed.decide(key), copies_of(config))
    return Pause(about.paused_until, found if found is not None and found.blocks else None)


def copies_of(config: Config) -> OpenList:
    """Return what opens the good copy of a list, by its name in the configuration."""
    store = Store(Places(config.state_dir, config.run_dir))
    lists = {str(one): one for one in lists_named(config)}
    return lambda name: open_copy(store.copy(lists[name])) if name in lists else None


def _unread_notes(paths: Sequence[Path], problems: Sequence[str]) -> Iterator[str]:
    for path in paths:
        about = f"{path_text(path)}: "
        said = next((one for one in problems if one.startswith(about)), f"{about}cannot be read")
        yield f"{said}; a running daemon may still use its former content"


# --- the client -----------------------------------------------------------------------------------


def _client(config: Config, names: Names, who: Who) -> Client:
    about = ClientNames(config, names)
    mac, called = None, set()
    if isinstance(who, Mac):
        mac = mac_octets(who.text)
        found = about.addresses(mac)
    elif isinstance(who, ClientName):
        found = list(addresses_of_name(config, names, who.text))
        called = {who.text}
        if not found and not any(who in one.clients for one in config.view):
            raise FastdnsError(f"{describe(who.text)} is nobody's name here (try an address)")
    elif isinstance(who, Identity):
        found = []
    else:
        found = [wide(who.packed)]
    if found:
        mac = mac or about.mac(found[0])
        called |= about.names_for_views(found[0])
    address = who if isinstance(who, IPv4Address | IPv6Address) else None
    if address is None and found:
        address = narrow(found[0])
    client = _admission(config, address)
    identity = who if isinstance(who, Identity) else None
    view, by, reason = _view(config, address, mac, called, identity)
    name = config.view[view - 1].name if view else ""
    if by is not None and not reason:
        spelled = str(by) if isinstance(by, Mac | ClientName | Identity) else spell_clients(by)
        reason = f"view[{view - 1}].clients has {describe(spelled)}"
    return attrs.evolve(client, who=str(who), view=view, view_name=name, view_reason=reason)


def _view(
    config: Config,
    address: Address | None,
    mac: bytes | None,
    names: set[str],
    identity: Identity | None,
) -> tuple[int, AnyViewClient | None, str]:
    """Return the number of the view, by what, and why it is another one at other hours."""
    rules = ViewRules(config.view, in_force(config.view, time.time()))
    number, by = rules.of_client(address, mac, names, identity)
    always, _ = ViewRules(config.view).of_client(address, mac, names, identity)
    if always == number or not always:
        return number, by, ""
    other = config.view[always - 1]
    return number, by, f"{other.name} is not in force now ({other.when})"


def _admission(config: Config, address: Address | None) -> Client:
    try:
        lan = read_lan()
    except OSError:
        lan = Lan()
    if address is None:
        return Client(None, True, "its address is not known now")
    access = compile_access(config.access, lan)
    may_ask, rule = rule_for(config.access, lan, address)
    if _admits(access, address) and not may_ask:
        may_ask, rule = True, 'access.allow has "lan"'  # by the interface of a link-local address
    return Client(address, may_ask, rule, config.access.refuse == "drop" and not may_ask)


def _admits(access: Access, address: Address) -> bool:
    link = getattr(address, "scope_id", None) or ""
    return access.admits_client((str(address), 0, 0, int(link) if link.isdigit() else 0))


# --- the daemon -----------------------------------------------------------------------------------


def _documents(path: Path | None) -> Documents:
    if path is None and not DEFAULT_FILE.exists():
        return Documents()
    return read_documents(path or DEFAULT_FILE, regular=False)


def _files(documents: Documents, path: Path | None) -> Iterator[Path]:
    """Yield the files of the configuration."""
    if documents.source is not None:
        yield path or DEFAULT_FILE
        yield from map(Path, documents.files)


def _daemon(places: Places, files: Sequence[Path], notes: list[str]) -> Daemon | None:
    try:
        pid = holder(places.lock)
    except FastdnsError as error:
        notes.append(str(error))
        return Daemon(None, responds=False)
    if pid is None:
        return None
    try:
        pages = newest_pages(places)
    except NotRunning:
        return None
    except FastdnsError as error:
        notes.append(str(error))
        return Daemon(pid, responds=False)
    told, problem = told_by_supervisor(places)
    if problem:
        notes.append(problem)
    loaded_at = told.get("reloaded_at") or pages.started_at
    changed = [one for one in dict.fromkeys(files) if _changed_since(one, loaded_at)]
    if told and changed and not told.get("reload_problem"):
        names = ", ".join(map(path_text, changed))
        verb = "has" if len(changed) == 1 else "have"
        notes.append(
            f"{names} {verb} changed since the daemon read it; this is what it will do after "
            "fastdns reload"
        )
    return Daemon(pid, bool(told), pages.upstreams())


def _changed_since(path: Path, moment: float) -> bool:
    try:
        return path.stat().st_mtime > moment
    except OSError:
        return False


# --- the cache ------------------------------------------------------------------------------------


def _site(path: Path | None, state: str | None, notes: list[str]) -> Site | None:
    try:
        return find_site(path, state, shows_records=True)
    except FastdnsError as error:
        notes.append(f"the cache is not known: {error}")
        return None


def _kept(
    site: Site, key: Key, policy: Policy, judge: Judge, notes: list[str], *, view: int
) -> Iterator[Kept]:
    """Yield the answers of all variants of a question, whether a client sets DO or CD or not."""
    variants = [key._replace(do=do, cd=cd) for cd, do in product((False, True), repeat=2)]
    values = _on_disk(site, [disk_key(one.join()) for one in variants], notes)
    rings = sorted(site.places.run_dir.glob("ring.*"))
    for variant in variants:
        place = disk_key(variant.join())
        value, tier = values.get(place), DISK
        pending = newest_pending(rings, variant.join())
        if pending is not None and _counts(pending, value, site.control):
            value, tier = (None if pending.is_removal else pending.value), RING
        if value is None:
            continue
        try:
            item = read_item(place, value, judge)
            found = obstacle(item, policy, view)
        except ValueError as error:
            notes.append(f"an entry of this name is damaged: {error} (see fastdns cache verify)")
            continue
        target = None
        if found == LEADS_TO_BLOCKED and site.config is not None:
            target = blocked_by_chain(site.config, policy, key, view, item.records())
        yield Kept(item, tier, found, target)


def blocked_by_chain(
    config: Config, policy: Policy, key: Key, view: int, records: Iterable[Record]
) -> BlockedTarget | None:
    """Return the blocked name to which an answer to the question of a key leads, if any."""
    asked = key._replace(group=view).join()
    return blocked_target(config, policy, asked, targets_of(records), copies_of(config))


def _on_disk(site: Site, keys: Sequence[bytes], notes: list[str]) -> dict[bytes, bytes]:
    try:
        with Reader(site.path) as reader:
            if reader.is_bare:
                return {}
            return {key: value for batch in reader.values(keys) for key, value in batch}
    except CacheAbsent:
        return {}
    except FastdnsError as error:
        notes.append(str(error))
        return {}


def _counts(pending: Pending, value: bytes | None, control: Control | None) -> bool:
    """Whether an answer in a ring is newer than that on disk, and no command has removed it."""
    try:
        if value is not None and not newer(pending.value, value):
            return False
    except ValueError:
        return False
    changes = control.since(pending.epoch) if control is not None else []
    return changes is not None and not any(
        kind != CHANGE_REFRESH and change_covers(kind, qtype, name, pending.key)
        for kind, qtype, name, _ in changes
    )


# --- the upstreams --------------------------------------------------------------------------------


def _upstreams(
    config: Config, group: Forward | View | None, daemon: Daemon | None
) -> Iterator[Asked]:
    """Yield those of the group: as the daemon has them, else as the configuration names them."""
    if daemon is not None and daemon.upstreams:
        of_group = "" if group is None else f" ({group.name})"
        for state in daemon.upstreams:
            if state.name.endswith(of_group) if of_group else " (" not in state.name:
                yield Asked(state.name.removesuffix(of_group), state)
        return
    settings: Upstream = config.upstream if group is None else group
    for server in Sources(config, settings).servers:
        yield Asked(str(server))
