"""From a TOML file and flags to one frozen configuration.

`load` is what others call; `schema` is what it returns, `places` says where things lie. Behind
`load`: `documents` joins the files that `files` reads, and `lines` says where in them a key stands;
`structure` turns TOML values into schema values with the help of `units` and `servers`, `later`
lists what this version refuses, `render` writes a configuration back as TOML.
"""
