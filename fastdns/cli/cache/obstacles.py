"""Why the cache has no answer to a question, or has one that is not served.

By the configuration in its file: the daemon may not have read it yet.
"""

from __future__ import annotations

import time

from ..._policy import Decided, Policy
from ...browse.items import Item
from ...browse.names import Key, spell_name
from ...config.types import TYPES
from ...machine.own_names import own_names
from ...policy.blocking_now import blocking_now
from ...policy.compile import compile_domains
from .site import Site

HERE = "fastdns itself answers it"
LEADS_TO_BLOCKED = "it leads to a name that is blocked"
# Why an answer that is cached must not be given, by the verdict in its place.
NOT_ALLOWED = {
    "nodata": "it has an address of a private network (protect.rebind)",
    "ignore": "it has an address of protect.bogus_answers",
}


def policy_for(site: Site) -> Policy | None:
    """Return the policy of the daemon; None: its configuration is not known, or is another one."""
    config = site.config
    if config is None:
        return None
    asked = {one.number for one in config.named_groups}
    if not asked <= set(site.groups) <= asked | {one.number for one in config.forward}:
        return None
    blocking = blocking_now(config, time.time())
    return compile_domains(config).policy(own_names(config).records, blocking)


def why_never(site: Site, name: bytes, qtype: int | None) -> str:
    """Return why no answer to a question is ever cached, of one type or of all; "": it may be."""
    config, policy = site.config, policy_for(site)
    if config is None or policy is None:
        return ""
    decided = policy.decide(Key(name, qtype or TYPES["A"]).join())
    if _is_here(decided) and (qtype is not None or decided.verdict != "nodata"):
        reason = HERE
    elif decided.rule and not config.rule[decided.rule - 1].cache:
        reason = "by a rule, its answers are not cached"
    else:
        return ""
    return f"{reason} (see fastdns why {spell_name(name)})"


def obstacle(item: Item, policy: Policy, view: int | None = None) -> str:
    """Return why an entry is not served to clients of a view; "": it is.

    Without `view`: to clients in none, or to those whose view has servers that have given it.
    """
    if view is None:
        groups = [one.group for one in policy.blocking.views]
        view = groups.index(item.key.group) if item.key.group in groups else 0
    # A view stands in the key where the disk has the group.
    key = item.key._replace(group=view).join()
    decided = policy.decide(key)
    if _is_here(decided):
        return f"{HERE} now"
    if item.state == "expired":
        return "it is too old to be served"
    if item.is_of_no_group or decided.group != item.key.group:
        no_group = "the daemon has no such group of upstreams"
        other = "another group of upstreams is asked for this name now"
        return no_group if item.is_of_no_group else other
    instead = policy.inspect(key, item.entry.message)
    if instead is not None:
        otherwise = NOT_ALLOWED.get(
            instead.verdict, f"its content is not allowed ({instead.verdict})"
        )
        return LEADS_TO_BLOCKED if instead.reason else otherwise
    if item.is_foreign:
        return (
            "it came from other upstreams than the group has now, or under another rule: it is "
            "only served while no upstream answers"
        )
    return ""


def _is_here(decided: Decided) -> bool:
    return decided.verdict != "forward"
