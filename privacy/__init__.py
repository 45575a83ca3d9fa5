"""Privacy: what is personal in a text, what stands in its place, and how what precedes redaction is kept.

Here belong detection, surrogates and encryption. Where a document comes from and what becomes of it afterwards does not.
Presidio and spaCy are imported when a `Redactor` is built, not when this package is.
"""

from core.entities import ENTITIES as LABELS
from privacy.encryption import CannotDecrypt, new_data_key, new_surrogate_key, rewrap, tenant_keys
from privacy.redactor import Redactor
from privacy.stage import redact, redact_id, redact_text
from privacy.surrogates import surrogate

__all__ = [
    "LABELS",
    "CannotDecrypt",
    "Redactor",
    "new_data_key",
    "new_surrogate_key",
    "redact",
    "redact_id",
    "redact_text",
    "rewrap",
    "surrogate",
    "tenant_keys",
]
