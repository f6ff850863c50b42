"""Names are blocked as a plain reading of lists, rules and views says."""

from __future__ import annotations

import logging
import random
import time
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import dns.edns
import dns.message
import dns.rcode
import pytest
from messages import AAAA, CNAME, DNAME, A, address, key, name, record, reply
from test_local import built

from fastdns import _block_set as block_set
from fastdns._block_set import BlockSet, BlockSetBuilder
from fastdns._blocking import Blocking, Pattern, ViewSettings
from fastdns._key import make_key
from fastdns._local import LocalBuilder
from fastdns._own_answers import own_answer
from fastdns._policy import Decided, Policy
from fastdns.config.filters import Block, View
from fastdns.config.groups import Forward
from fastdns.config.names import parse_name
from fastdns.config.schema import Config, Upstream
from fastdns.config.values import Address, Domain, ListUrl, Server
from fastdns.policy.blocking import BLOCKS, About, compile_blocking
from fastdns.policy.overrides import Override, Overrides
from fastdns.policy.safe_search import SAFE_HOSTS

ITSELF, UNDER = block_set.ITSELF, block_set.UNDER
ALLOWS, IMPORTANT = block_set.ALLOWS, block_set.IMPORTANT
HTTPS, MX, ANY = 65, 15, 255
Labels = tuple[str, ...]  # of a name, its last label first
ALPHABET = ("a", "b", "c")
ANSWERS = {"null": "null_address", "nxdomain": "nxdomain", "refused": "refuse"}
ACTIONS = ("", "nxdomain", "nodata", "null_address", "refuse")
ROUNDS = 150


def configured(block: Block | None = None, *views: View, **more: Any) -> Config:
    return Config(
        state_dir=Path("/nowhere"),
        run_dir=Path("/nowhere"),
        block=block or Block(),
        view=views,
        **more,
    )


def domain(text: str) -> Domain:
    return Domain(text, parse_name(text))


def lists(number: int) -> tuple[ListUrl, ...]:
    return tuple(ListUrl(f"https://lists.example/{one}.txt") for one in range(number))


def compiled(*entries: tuple[Any, ...], count: int = 1, patterns: Any = ()) -> BlockSet:
    """A block set of lists: (name, source, flags[, action[, types]])."""
    builder = BlockSetBuilder()
    for text, *entry in entries:
        builder.add(parse_name(text), *entry)
    for pattern in patterns:
        builder.add_pattern(*pattern)
    return BlockSet(builder.compile([{"url": str(one)} for one in lists(count)]))


def override(
    text: str, *, allows: bool, view: str | None = None, until: float | None = None
) -> Override:
    return Override(parse_name(text), text, allows, view, until)


def decided(blocking: Blocking, text: str, qtype: int = A, view: int = 0) -> Decided:
    return Policy(blocking=blocking).decide(of(text, qtype, view))


def of(text: str, qtype: int = A, view: int = 0) -> bytes:
    return make_key(parse_name(text), qtype, 1, do=False, cd=False, view=view)


def told(blocking: Blocking, text: str, qtype: int = A, view: int = 0) -> dns.message.Message:
    answer, _ = own_answer(Policy(blocking=blocking), of(text, qtype, view))
    assert answer is not None
    message = dns.message.from_wire(answer.message)
    if answer.edns_options:
        options = [
            dns.edns.option_from_wire(15, answer.edns_options, 4, len(answer.edns_options) - 4)
        ]
        message.use_edns(0, options=options)
    return message


# --- against a plain reading ----------------------------------------------------------------------


class Model:
    """A configuration, lists and rules put together at random."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.lists = [
            [self.entry() for _ in range(chance.randrange(7))] for _ in range(chance.randrange(4))
        ]
        self.patterns = [
            ("ab|^c", source, self.flags() | ITSELF)
            for source in range(len(self.lists))
            if chance.random() < 0.15
        ]
        everywhere = lists(len(self.lists))
        names = [f"v{number}" for number in range(chance.randrange(4))]
        self.block = Block(**self.part(everywhere), answer=chance.choice(list(ANSWERS)))
        self.views = [
            View(
                name=one,
                clients=("x",),
                **{
                    field: value
                    for field, value in self.part(everywhere).items()
                    if field in ("allow", "deny") or chance.random() < 0.5
                },
                answer=chance.choice((None, *ANSWERS)),
                block=chance.random() < 0.8,
                servers=(Server("udp", Address("192.0.2.1", 53)),) * chance.randrange(2),
            )
            for one in names
        ]
        self.now = 1000.0
        self.overrides = Overrides(
            tuple(
                override(
                    text(self.name()),
                    allows=chance.random() < 0.5,
                    view=chance.choice((None, *names, "gone")),
                    until=chance.choice((None, 999.0, 1000.0, 1001.0)),
                )
                for _ in range(chance.randrange(5))
            ),
            is_paused=chance.random() < 0.1,
            paused_until=chance.choice((None, 999.0, 1001.0)),
        )

    def part(self, everywhere: tuple[ListUrl, ...]) -> dict[str, Any]:
        roles = {one: self.chance.choice(("lists", "allow_lists", "")) for one in everywhere}
        allow = {wire(one): one for one in (self.name() for _ in range(self.chance.randrange(3)))}
        deny = {wire(one): one for one in (self.name() for _ in range(self.chance.randrange(3)))}
        return {
            "lists": tuple(one for one in everywhere if roles[one] == "lists"),
            "allow_lists": tuple(one for one in everywhere if roles[one] == "allow_lists"),
            "allow": tuple(domain(text(one)) for one in allow.values()),
            "deny": tuple(domain(text(one)) for one in deny.values()),
        }

    def name(self) -> Labels:
        return tuple(self.chance.choices(ALPHABET, k=self.chance.randrange(1, 5)))

    def flags(self) -> int:
        return self.chance.choice((0, 0, 0, ALLOWS, IMPORTANT, ALLOWS | IMPORTANT))

    def entry(self) -> tuple[Labels, int, int, tuple[int, ...]]:
        where = self.chance.choice((ITSELF, UNDER, ITSELF | UNDER))
        types = self.chance.choice(((), (), (A,), (-A,), (AAAA, HTTPS)))
        return self.name(), where | self.flags(), self.chance.randrange(5), types

    def blocking(self) -> Blocking:
        entries = [
            (text(one[0]), source, *one[1:])
            for source, found in enumerate(self.lists)
            for one in found
        ]
        names = compiled(*entries, count=len(self.lists), patterns=self.patterns)
        return compile_blocking(
            configured(self.block, *self.views), self.overrides, names, self.now
        )

    def decide(self, asked: Labels, qtype: int, number: int) -> tuple[str, str]:
        """The verdict, and its reason."""
        view = self.views[number - 1] if 0 < number <= len(self.views) else None
        paused = self.overrides
        if paused.is_paused and (paused.paused_until is None or paused.paused_until > self.now):
            return "forward", ""
        if view is not None and not view.block:
            return "forward", ""
        answer = ANSWERS[(view and view.answer) or self.block.answer]
        allows = self.by_rule(asked, view)
        if allows is not None:
            return ("forward", "allowed_by_rule") if allows else (answer, "rule")
        found = self.by_lists(asked, qtype, view)
        if not found:
            return "forward", ""
        # The highest rank; a domain before a pattern, a longer domain before a shorter one.
        rank, _, is_pattern, _, action = min(
            found, key=lambda one: (-one[0], one[2], -one[1], one[3])
        )
        reason = "pattern" if is_pattern else "list"
        return ("forward", f"allowed_by_{reason}") if rank in (2, 4) else (action or answer, reason)

    def by_rule(self, asked: Labels, view: View | None) -> bool | None:
        now = [one for one in self.overrides.rules if one.until is None or one.until > self.now]
        own = view.name if view else ""
        for count in range(len(asked), -1, -1):
            place = wire(asked[:count])
            for whose in (own, None):
                made = [one.allows for one in now if (one.domain, one.view) == (place, whose)]
                if made:
                    return any(made)
            for section in (view, self.block):
                if section is not None and place in [one.wire for one in section.allow]:
                    return True
                if section is not None and place in [one.wire for one in section.deny]:
                    return False
        return None

    def by_lists(
        self, asked: Labels, qtype: int, view: View | None
    ) -> list[tuple[int, int, bool, int, str]]:
        found = []
        block: Any = self.block
        blocks = block.lists if view is None or view.lists is None else view.lists
        excepts = (
            block.allow_lists if view is None or view.allow_lists is None else view.allow_lists
        )
        for source, entries in enumerate(self.lists):
            url = lists(source + 1)[source]
            if url not in (*blocks, *excepts):
                continue
            matching = [
                (len(of), False, flags, action)
                for of, flags, action, types in entries
                if asked[: len(of)] == of
                and flags & (ITSELF if asked == of else UNDER)
                and (not types or (qtype in types) or (types[0] < 0 and -qtype not in types))
            ]
            shown = text(asked).rstrip(".")
            matching += [
                (len(asked), True, flags, 0)
                for _, of_list, flags in self.patterns
                if of_list == source and ("ab" in shown or shown.startswith("c"))
            ]
            for labels, is_pattern, flags, action in matching:
                allows = url in excepts or flags & ALLOWS
                rank = (2 if allows else 1) + (2 if flags & IMPORTANT else 0)
                found.append((rank, labels, is_pattern, source, ACTIONS[action]))
        return found


def text(labels: Labels) -> str:
    return ".".join(reversed(labels)) + "."


def wire(labels: Labels) -> bytes:
    return parse_name(text(labels))


def test_any_lists_rules_and_views_block_as_a_plain_reading_of_them_does() -> None:
    chance = random.Random(15)
    seen = set()
    for _ in range(ROUNDS):
        model = Model(chance)
        blocking = model.blocking()
        policy = Policy(blocking=blocking)
        for _ in range(60):
            asked, qtype = model.name(), chance.choice((A, AAAA, HTTPS, ANY))
            view = chance.randrange(len(model.views) + 2)
            found = policy.decide(of(text(asked), qtype, view))
            known = model.views[view - 1] if 0 < view <= len(model.views) else None
            wanted = model.decide(asked, qtype, view)
            # Entries of one list that differ in their answer have no order among themselves.
            assert found.reason == wanted[1], (text(asked), qtype, view, found, wanted)
            if found.reason not in ("list", "pattern"):
                assert found.verdict == wanted[0]
            assert (found.ede == 15) == (found.reason in ("list", "rule", "pattern"))
            assert found.group == (known.number if known and known.servers else 0)
            seen.add(found.reason)
    assert len(seen) == 7


# --- the user's rules -----------------------------------------------------------------------------


def test_longest_rule_of_the_user_counts_whatever_lists_say() -> None:
    config = configured(
        Block(lists=lists(1), allow=(domain("ok.ads.example"),), deny=(domain("x.ok.ads.example"),))
    )
    names = compiled(("ads.example", 0, ITSELF | UNDER | IMPORTANT))
    blocking = compile_blocking(config, block_set=names)
    for asked, reason in (
        ("ads.example", "list"),
        ("other.ads.example", "list"),
        ("ok.ads.example", "allowed_by_rule"),
        ("a.ok.ads.example", "allowed_by_rule"),
        ("x.ok.ads.example", "rule"),
        ("y.x.ok.ads.example", "rule"),
        ("example", ""),
    ):
        assert decided(blocking, asked).reason == reason, asked


def test_rule_made_at_run_time_counts_before_the_file_until_its_time_is_over() -> None:
    config = configured(Block(deny=(domain("www.example"),)))
    rules = Overrides((override("www.example", allows=True, until=100.0),))
    assert decided(compile_blocking(config, rules, now=99.0), "www.example").verdict == "forward"
    assert decided(compile_blocking(config, rules, now=100.0), "www.example").reason == "rule"


def test_rule_for_a_view_concerns_no_other_client() -> None:
    views = [View(name=one, clients=("x",), deny=(domain(f"{one}.example"),)) for one in "ab"]
    rules = Overrides((override("game.example", allows=False, view="b"),))
    blocking = compile_blocking(configured(None, *views), rules)
    for asked, blocks in (("a.example", {1}), ("b.example", {2}), ("game.example", {2})):
        found = {view for view in range(4) if decided(blocking, asked, view=view).reason == "rule"}
        assert found == blocks, asked


def test_pause_ends_blocking_but_not_safe_search() -> None:
    view = View(name="kids", clients=("x",), deny=(domain("a.example"),), safe_search=True)
    config = configured(Block(deny=(domain("b.example"),)), view)
    paused = compile_blocking(config, Overrides(is_paused=True, paused_until=50.0), now=49.0)
    assert decided(paused, "a.example", view=1).verdict == "forward"
    assert decided(paused, "b.example").verdict == "forward"
    assert decided(paused, "www.google.com", view=1).reason == "safe_search"
    resumed = compile_blocking(config, Overrides(is_paused=True, paused_until=50.0), now=50.0)
    assert decided(resumed, "a.example", view=1).reason == "rule"
    assert isinstance(paused.about, About)
    assert paused.about.is_paused


def test_nothing_configured_leaves_the_shortest_way() -> None:
    blocking = compile_blocking(configured())
    assert blocking.is_empty
    assert Policy(blocking=blocking).is_empty
    assert not Policy(blocking=blocking).inspects


# --- answers --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "rcode", "address"),
    [("null", 0, True), ("nxdomain", 3, False), ("refused", 5, False)],
)
def test_blocked_name_has_no_address_that_leads_anywhere(
    answer: Any, rcode: int, address: bool
) -> None:
    config = configured(Block(lists=lists(1), answer=answer, ttl=77))
    blocking = compile_blocking(config, block_set=compiled(("ads.example", 0, ITSELF | UNDER)))
    for qtype, data in ((A, "0.0.0.0"), (AAAA, "::"), (HTTPS, ""), (MX, ""), (ANY, "")):
        message = told(blocking, "x.ads.example", qtype)
        assert message.rcode() == rcode
        found = [str(one) for rrset in message.answer for one in rrset]
        assert found == ([data] if address and data else [])
        for rrset in (*message.answer, *message.authority):
            assert rrset.ttl == 77
        has_soa = rcode == 3 or (rcode == 0 and not found)
        assert [rrset.rdtype for rrset in message.authority] == [6] * has_soa
        if rcode == 3:
            assert str(message.authority[0].name) == "ads.example."


def test_entry_of_a_response_policy_zone_has_its_own_answer() -> None:
    actions = (
        ("nx.example", block_set.ANSWER_NXDOMAIN, "nxdomain"),
        ("no.example", block_set.ANSWER_NODATA, "nodata"),
        ("zero.example", block_set.ANSWER_NULL, "null_address"),
        ("ref.example", block_set.ANSWER_REFUSED, "refuse"),
        ("as.example", block_set.AS_CONFIGURED, "nxdomain"),
    )
    names = compiled(*((asked, 0, ITSELF, action) for asked, action, _ in actions))
    config = configured(Block(lists=lists(1), answer="nxdomain"))
    blocking = compile_blocking(config, block_set=names)
    for asked, _, verdict in actions:
        assert decided(blocking, asked).verdict == verdict
    assert told(blocking, "no.example").rcode() == 0


def test_client_is_told_which_list_or_rule_blocks_a_name() -> None:
    config = configured(
        Block(
            lists=(ListUrl("https://lists.example/a/ads.txt?token=1"),), deny=(domain("b.example"),)
        )
    )
    builder = BlockSetBuilder()
    builder.add(parse_name("ads.example"), 0, ITSELF)
    names = BlockSet(builder.compile([{"url": str(config.block.lists[0])}]))
    blocking = compile_blocking(config, block_set=names)
    for asked, says in (
        ("ads.example", "list lists.example/a/ads.txt"),
        ("x.b.example", "rule b.example"),
    ):
        (option,) = told(blocking, asked).options
        assert isinstance(option, dns.edns.EDEOption)
        assert (option.code, option.text) == (15, says)


def test_text_about_a_long_list_and_a_long_name_is_bounded() -> None:
    url = ListUrl("https://lists.example/" + "ä" * 300)
    longest = ".".join("x" * 63 for _ in range(3)) + "." + "y" * 60
    config = configured(Block(lists=(url,), deny=(domain(longest),)))
    builder = BlockSetBuilder()
    builder.add(parse_name("ads.example"), 0, ITSELF)
    blocking = compile_blocking(config, block_set=BlockSet(builder.compile([{"url": str(url)}])))
    for asked in ("ads.example", longest):
        (option,) = told(blocking, asked).options
        assert isinstance(option, dns.edns.EDEOption)
        assert option.text
        assert 80 < len(option.text.encode()) <= 160


# --- where a CNAME record leads -------------------------------------------------------------------


def inspected(blocking: Blocking, *chain: str, view: int = 0) -> Decided | None:
    """What is said of an answer that leads over these names to an address."""
    records = [record(CNAME, name(target), owner=name(owner)) for owner, target in pairwise(chain)]
    wire = reply(*records, address(owner=name(chain[-1])), qname=chain[0])
    return Policy(blocking=blocking).inspect(key(chain[0])[:-2] + bytes((0, view)), wire)


def test_name_that_leads_to_a_blocked_one_is_blocked_unless_it_is_allowed() -> None:
    views = (View(name="free", clients=("x",), block=False),)
    config = configured(Block(lists=lists(1), allow=(domain("shop.example"),)), *views)
    blocking = compile_blocking(config, block_set=compiled(("tracker.demo", 0, ITSELF | UNDER)))
    found = inspected(blocking, "metrics.example", "x.cdn.example", "a.tracker.demo")
    assert found is not None
    assert (found.verdict, found.reason, found.alias) == ("null_address", "list", 2)
    assert inspected(blocking, "metrics.example", "x.cdn.example") is None
    assert inspected(blocking, "a.shop.example", "a.tracker.demo") is None
    assert inspected(blocking, "metrics.example", "a.tracker.demo", view=1) is None


def test_domain_above_a_chain_is_not_a_name_of_it() -> None:
    blocking = compile_blocking(
        configured(Block(lists=lists(1))), block_set=compiled(("old.example", 0, ITSELF))
    )
    wire = reply(
        record(DNAME, name("new.example"), owner=name("old.example")),
        record(CNAME, name("a.new.example"), owner=name("a.old.example")),
        address(owner=name("a.new.example")),
        qname="a.old.example",
    )
    assert Policy(blocking=blocking).inspect(key("a.old.example"), wire) is None


# --- regular expressions --------------------------------------------------------------------------


def test_patterns_count_like_domains_and_only_where_their_list_does() -> None:
    views = (View(name="none", clients=("x",), lists=()),)
    names = compiled(
        ("ok1.example", 0, ITSELF | ALLOWS),
        patterns=[("^(ads|ok)[0-9]+\\.", 0, ITSELF), ("^ads9\\.", 0, ITSELF | ALLOWS, 0, (AAAA,))],
    )
    blocking = compile_blocking(configured(Block(lists=lists(1)), *views), block_set=names)
    assert decided(blocking, "ads1.example").reason == "pattern"
    assert decided(blocking, "ADS1.example").reason == "pattern"
    assert decided(blocking, "ok1.example").reason == "allowed_by_list"
    assert decided(blocking, "ads9.example").reason == "pattern"
    assert decided(blocking, "ads9.example", AAAA).reason == "allowed_by_pattern"
    assert decided(blocking, "ads1.example", view=1).reason == ""
    assert decided(blocking, "ads.example").reason == ""


def test_name_is_matched_once_and_what_is_remembered_is_bounded() -> None:
    asked = []
    pattern = Pattern(asked.append, 0, ITSELF, (), 0)
    blocking = Blocking([ViewSettings(roles=b"\1")], patterns=[pattern], list_notes=[b"one"])
    for _ in range(3):
        decided(blocking, "a.example")
    assert asked == ["a.example"]
    for number in range(5000):
        blocking.matches(parse_name(f"{number}.example"))
    decided(blocking, "a.example")
    assert asked.count("a.example") == 2


def test_pattern_that_takes_too_long_is_left_out_and_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    names = compiled(patterns=[("^(a+)+$", 0, ITSELF), ("^ads", 0, ITSELF)])
    blocking = compile_blocking(configured(Block(lists=lists(1))), block_set=names)
    with caplog.at_level(logging.WARNING):
        decided(blocking, "a" * 21 + ".example")
    assert "takes too long" in caplog.text
    assert decided(blocking, "aa").reason == ""
    assert decided(blocking, "ads.example").reason == "pattern"


def test_slowest_of_many_expressions_that_take_long_together_are_left_out(
    caplog: pytest.LogCaptureFixture,
) -> None:
    asked: list[int] = []

    def busy(number: int, _text: str) -> bool:
        """Compute for less than an expression may, and more so with a higher number."""
        asked.append(number)
        until = time.thread_time() + 0.006 + 0.0003 * number
        while time.thread_time() < until:
            pass
        return number == 0

    patterns = [Pattern(partial(busy, one), 0, ITSELF | UNDER, (), 0) for one in range(30)]
    views = [ViewSettings(roles=bytes((BLOCKS,)))]
    blocking = Blocking(views, patterns=patterns, list_notes=[b""])
    with caplog.at_level(logging.WARNING):
        blocking.find(name("a.example"), A)
    asked.clear()
    assert blocking.find(name("b.example"), A)[0] == "pattern"
    assert 4 < len(asked) < 17
    assert len(caplog.records) == 30 - len(asked)


# --- safe search ----------------------------------------------------------------------------------


def test_safe_search_is_for_search_engines_and_for_types_that_browsers_ask_for() -> None:
    view = View(name="kids", clients=("x",), safe_search=True, deny=(domain("bing.com"),))
    blocking = compile_blocking(configured(None, view))
    for asked, target in (
        ("www.google.com", "forcesafesearch.google.com"),
        ("www.google.co.uk", "forcesafesearch.google.com"),
        ("m.youtube.com", "restrict.youtube.com"),
        ("duckduckgo.com", "safe.duckduckgo.com"),
        ("yandex.ru", "familysearch.yandex.ru"),
    ):
        assert decided(blocking, asked, view=1).reason == "safe_search"
        assert decided(blocking, asked).verdict == "forward"
        for qtype in (A, AAAA, HTTPS):
            answer, leads_to = own_answer(Policy(blocking=blocking), of(asked, qtype, 1))
            assert answer is not None
            assert leads_to == parse_name(target)
        assert decided(blocking, asked, MX, view=1).verdict == "forward"
    assert decided(blocking, "www.bing.com", view=1).reason == "rule"
    for asked in ("mail.google.com", "google.example", "forcesafesearch.google.com"):
        assert decided(blocking, asked, view=1).verdict == "forward", asked


def test_safe_hosts_are_names_that_are_not_replaced_themselves() -> None:
    builder = LocalBuilder()
    for target, replaced in SAFE_HOSTS.items():
        assert target not in replaced
        for one in replaced:
            assert builder.add(parse_name(one), CNAME, 60, parse_name(target), 0), one


def test_local_record_of_a_search_engine_comes_first() -> None:
    view = View(name="kids", clients=("x",), safe_search=True)
    local = built("www.google.com 60 A 192.0.2.1")
    policy = Policy(blocking=compile_blocking(configured(None, view)), local=local)
    assert policy.decide(of("www.google.com", view=1)).reason == ""


# --- views ----------------------------------------------------------------------------------------


def test_view_has_servers_of_its_own_for_names_in_no_group() -> None:
    server = Server("udp", Address("192.0.2.1", 53))
    view = View(name="kids", clients=("x",), servers=(server,))
    blocking = compile_blocking(configured(None, view, upstream=Upstream()))
    assert decided(blocking, "www.example", view=1).group == view.number
    assert decided(blocking, "www.example").group == 0


def test_view_with_servers_is_a_group_that_no_other_group_may_be_named_like() -> None:
    server = Server("udp", Address("192.0.2.1", 53))
    group = Forward(name="corp", domains=(domain("corp.demo"),), servers=(server,))
    view = View(name="corp", clients=("x",), servers=(server,))
    config = configured(None, view, forward=(group,))
    assert config.named_groups == (group, view)
    (problem,) = config.contradictions()
    assert problem.key == "view[0].name"
    without = View(name="corp", clients=("x",))
    assert not list(configured(None, without, forward=(group,)).contradictions())
