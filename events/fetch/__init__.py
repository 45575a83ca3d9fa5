"""Content by reference: the bytes at an event's uri.

`content`  `fetch`: the uri's form, the scheme, the SHA-256
`limits`   errors and size limit that all schemes share
`file`, `http`, `objects`   one module for each kind of uri
"""
