"""What keeps a machine from being served by fastdns: found, said, put right and taken back.

`examine` looks and changes nothing. What it finds may carry a remedy, which is made of changes;
`record` has each one on disk before it is made, so that `undo` can take it back, whatever happened.
"""
