"""Finders: each finds one kind of personal data in a folded text.

- `context`: what all finders share; `presidio`: Presidio's recognisers, and the lists of finders for each kind of text
- by shape and check digit: `addresses` (e-mail), `credentials`, `dates`, `links`, `numbers`, `payments`, `phones`, with `checksums`
- names: `people` and `places` by lists (`gazetteer/`) and context, `names` by a model
- `lists`: a tenant's own values and expressions

Which finders run, and which finding wins, is in `privacy.redactor`.
"""
