"""A tenant's keys: one random data key, wrapped under the master key, and the keys derived from it.

All code that touches key bytes belongs here; what is encrypted and where it is stored does not.

Layout of sealed and wrapped data: one version byte, a 12-byte nonce, then the ciphertext and tag of AES-256-GCM.
"""

from __future__ import annotations

import hmac
import secrets
from dataclasses import replace
from hashlib import sha256

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from core.errors import ConfigurationError, HeadraceError
from core.keys import Surrogates, TenantKeys

_KEY_BYTES = 32
_NONCE_BYTES = 12
_VERSION = b"\x01"
_DIGEST_HEX = 32


class CannotDecrypt(HeadraceError):
    """The key, tenant or context is wrong, or the bytes were changed; authentication cannot tell which."""

    reason = "cannot-decrypt"
    remedy = "Check that master_key is the one this data was written under."


class DerivedKeys:
    """`core.keys.TenantKeys`, derived from one tenant's data key by HKDF-SHA256 (RFC 5869), one subkey for each use.

    `surrogate_key` replaces the derived surrogate key; sealing and digests do not change.

    A random 96-bit nonce is safe for about 2^32 payloads under one key (NIST SP 800-38D, 8.3); each tenant has its own sealing key.
    """

    __slots__ = ("_data_key", "_digest_keys", "_epoch", "_former", "_sealing", "_surrogate_key", "_tenant")

    def __init__(
        self, tenant: str, data_key: bytes, surrogate_key: bytes | None = None, epoch: int = 0, former: TenantKeys | None = None
    ) -> None:
        self._tenant = tenant
        self._data_key = data_key
        self._sealing = AESGCM(_derive(data_key, "seal"))
        self._surrogate_key = surrogate_key or _derive(data_key, "surrogate")
        self._epoch, self._former = epoch, former
        self._digest_keys: dict[str, bytes] = {}

    def __repr__(self) -> str:
        return f"DerivedKeys(tenant={self._tenant!r})"

    def __reduce__(self) -> tuple[object, ...]:
        # a pickle would contain the keys in clear text
        raise TypeError("a tenant's keys are not serialisable: unwrap them where they are needed")

    @property
    def surrogate_key(self) -> bytes:
        return self._surrogate_key

    @property
    def epoch(self) -> int:
        return self._epoch

    @property
    def former(self) -> TenantKeys | None:
        return self._former

    def seal(self, plaintext: bytes, context: str) -> bytes:
        """Encrypt. The result is 29 bytes longer than `plaintext`."""
        return _encrypt(self._sealing, plaintext, _bound("seal", self._tenant, context))

    def open(self, sealed: bytes, context: str) -> bytes:
        """Decrypt what `seal` returned. Raises CannotDecrypt."""
        return _decrypt(self._sealing, sealed, _bound("seal", self._tenant, context))

    def digest(self, value: bytes, purpose: str) -> str:
        """The first 128 bits of an HMAC-SHA256, as 32 hex characters."""
        return hmac.digest(self._digest_key(purpose), value, sha256).hex()[:_DIGEST_HEX]

    def _digest_key(self, purpose: str) -> bytes:
        if purpose not in self._digest_keys:
            self._digest_keys[purpose] = _derive(self._data_key, f"digest/{purpose}")
        return self._digest_keys[purpose]


def new_data_key(master: bytes, tenant: str) -> bytes:
    """A new random data key for this tenant, wrapped under `master` (32 bytes): 61 bytes, safe to store."""
    return _wrap(master, tenant, secrets.token_bytes(_KEY_BYTES), _DATA)


def new_surrogate_key(master: bytes, tenant: str) -> bytes:
    """A new random surrogate key for this tenant, wrapped like a data key."""
    return _wrap(master, tenant, secrets.token_bytes(_KEY_BYTES), _SURROGATE)


def tenant_keys(master: bytes, tenant: str, wrapped: bytes, surrogates: Surrogates = Surrogates()) -> TenantKeys:  # noqa: B008 - frozen
    """The keys of a tenant from its wrapped data key. Raises CannotDecrypt if it was wrapped for another master key or tenant."""
    data_key = _unwrap(master, tenant, wrapped, _DATA)

    def surrogate_key(of: bytes | None) -> bytes | None:
        return None if of is None else _unwrap(master, tenant, of, _SURROGATE)

    before = surrogates.epoch - 1
    former = DerivedKeys(tenant, data_key, surrogate_key(surrogates.former), before) if surrogates.rotated_at else None
    return DerivedKeys(tenant, data_key, surrogate_key(surrogates.wrapped), surrogates.epoch, former)


def rewrap(master_old: bytes, master_new: bytes, tenant: str, wrapped: bytes) -> bytes:
    """Wrap the same data key under a new master key; sealed data, digests and surrogates stay valid. Raises CannotDecrypt."""
    return _wrap(master_new, tenant, _unwrap(master_old, tenant, wrapped, _DATA), _DATA)


def rewrap_surrogates(master_old: bytes, master_new: bytes, tenant: str, surrogates: Surrogates) -> Surrogates:
    """Wrap a tenant's surrogate keys under a new master key. Raises CannotDecrypt."""

    def rewrapped(wrapped: bytes | None) -> bytes | None:
        return None if wrapped is None else _wrap(master_new, tenant, _unwrap(master_old, tenant, wrapped, _SURROGATE), _SURROGATE)

    return replace(surrogates, wrapped=rewrapped(surrogates.wrapped), former=rewrapped(surrogates.former))


def installation_key(master: bytes, use: str) -> bytes:
    """A 32-byte key of the installation, for what outlives tenants: signatures of receipts, seals of the audit log."""
    return _derive(master, f"installation/{use}")


def wrap_installation(master: bytes, keys: bytes) -> bytes:
    """Wrap the installation's own keys like a tenant's."""
    return _wrap(master, "", keys, _INSTALLATION)


def unwrap_installation(master: bytes, wrapped: bytes) -> bytes:
    """Unwrap what `wrap_installation` returned. Raises CannotDecrypt."""
    return _unwrap(master, "", wrapped, _INSTALLATION)


_DATA, _SURROGATE, _INSTALLATION = "data-key", "surrogate-key", "installation-keys"


def _wrap(master: bytes, tenant: str, key: bytes, use: str) -> bytes:
    return _encrypt(_cipher(master), key, _bound(use, tenant, ""))


def _unwrap(master: bytes, tenant: str, wrapped: bytes, use: str) -> bytes:
    return _decrypt(_cipher(master), wrapped, _bound(use, tenant, ""))


def _cipher(master: bytes) -> AESGCM:
    if len(master) != _KEY_BYTES:
        raise ConfigurationError(f"master_key must be {_KEY_BYTES} bytes, was: {len(master)} bytes")
    return AESGCM(master)


def _derive(data_key: bytes, use: str) -> bytes:
    info = f"headrace/v1/{use}".encode("utf-8", "surrogatepass")
    return HKDF(algorithm=SHA256(), length=_KEY_BYTES, salt=None, info=info).derive(data_key)


def _bound(use: str, tenant: str, context: str) -> bytes:
    """The associated data. The tenant's length precedes it, so that no two pairs have the same encoding."""
    return f"headrace/v1/{use}/{len(tenant)}/{tenant}/{context}".encode("utf-8", "surrogatepass")


def _encrypt(cipher: AESGCM, plaintext: bytes, bound: bytes) -> bytes:
    nonce = secrets.token_bytes(_NONCE_BYTES)
    return _VERSION + nonce + cipher.encrypt(nonce, plaintext, _VERSION + bound)


def _decrypt(cipher: AESGCM, sealed: bytes, bound: bytes) -> bytes:
    version, nonce, ciphertext = sealed[:1], sealed[1 : 1 + _NONCE_BYTES], sealed[1 + _NONCE_BYTES :]
    if version != _VERSION or len(ciphertext) < 16:
        raise CannotDecrypt("not a sealed payload of a known version")
    try:
        return cipher.decrypt(nonce, ciphertext, version + bound)
    except InvalidTag:
        raise CannotDecrypt("the payload does not authenticate under this key, tenant and context") from None
