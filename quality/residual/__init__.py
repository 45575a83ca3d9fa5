"""Residual personal data: a second detector that checks what redaction missed, independent of `privacy`.

- `check`: the check itself; `estimate`: sampling, intervals and correction for the detector's errors
- `shapes`: certain findings; `suspicion` and `naming`: suspected identifiers and names
- `marks`: texts with surrogates blanked

Which documents are examined is up to the caller.
"""
