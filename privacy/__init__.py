"""The redaction stage: detection of personal data, surrogates, and the encryption of what precedes redaction.

- `stage`: redacts a document, text by text; `redactor`: runs the finders on one text and replaces what they find
- `finders/`: one finder for each kind of personal data; `models/`: the models that find names
- `profiles`: what each profile looks for and does with it; `folding`: one spelling for many ways to write a value
- `surrogates`, `tokens`: from a value and a key to `<ENTITY:hex>`; `encryption`: a tenant's keys

Where documents come from and where they are stored does not belong here. Presidio and spaCy are imported when a `Redactor` is built.
"""

from core.entities import ENTITIES as LABELS
from privacy.encryption import CannotDecrypt, new_data_key, new_surrogate_key, rewrap, tenant_keys
from privacy.redactor import Redactor
from privacy.stage import redact, redact_id, redact_labelled, redact_text
from privacy.surrogates import surrogate

__all__ = [
    "LABELS",
    "CannotDecrypt",
    "Redactor",
    "new_data_key",
    "new_surrogate_key",
    "redact",
    "redact_id",
    "redact_labelled",
    "redact_text",
    "rewrap",
    "surrogate",
    "tenant_keys",
]
