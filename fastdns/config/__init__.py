"""From a TOML file and flags to one frozen configuration.

Other parts call `load`, which returns the classes of `schema`; `places` knows the directories.
Behind `load`: `documents` joins the files that `files` reads, and `lines` finds the line of a key;
`structure` turns TOML values into schema values with the help of `units` and `servers`, `later`
lists what this version refuses, `render` writes a configuration as TOML.
"""
