"""Finds what keeps fastdns from serving a machine, fixes it, and can undo that.

`examine` only looks. A finding may have a remedy, which consists of changes; `record` writes each
change to disk before it is made, so that `undo` can revert it in any case.
"""
