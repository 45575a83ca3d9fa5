"""Presidio's recognisers as finders, with their patterns, checks and scores corrected; and the lists of all finders for a kind of text.

US_DRIVER_LICENSE (matches `B7`), URL (matches `john.sm`) and DATE_TIME are replaced by finders of our own.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Collection, Iterator
from typing import TYPE_CHECKING

from privacy.finders.addresses import Credentials, Emails, SpeltEmails
from privacy.finders.context import Finder, Finding, Text, cues
from privacy.finders.credentials import IssuedTokens, LabelledSecrets, NamedSecrets, PrivateKeys
from privacy.finders.dates import Ages, Dates
from privacy.finders.links import Urls
from privacy.finders.numbers import Numbers
from privacy.finders.payments import CardCodes, Cards, Ibans
from privacy.finders.phones import InternationalPhones, Phones
from privacy.finders.places import Addresses
from privacy.profiles import THRESHOLD

if TYPE_CHECKING:
    from presidio_analyzer import Pattern, PatternRecognizer

# Presidio's default: one of its words nearby adds 0.35, and lifts a pattern at least to the threshold
_BOOST = 0.35

_ANY_DIGIT = re.compile(r"\d")
_HEXADECIMALS = re.compile(r"[0-9A-Fa-f]+(?=:|$)|(?<=:)[0-9A-Fa-f]+")


def _always(_: str) -> bool:
    return True


class PresidioFinder:
    """`Finder` with the patterns and checks of one of Presidio's recognisers."""

    def __init__(
        self,
        label: str,
        recognizer: PatternRecognizer,
        *,
        needs: str,
        words: frozenset[str] = frozenset(),
        only_with_words: bool = False,
        unless: frozenset[str] = frozenset(),
        accept: Callable[[str], bool] = _always,
    ) -> None:
        self.labels = frozenset({label})
        self._label = label
        self.needs = re.compile(needs)
        self._recognizer = recognizer
        self._patterns = [(re.compile(p.regex, recognizer.global_regex_flags & _SHARED_FLAGS), p.score) for p in recognizer.patterns]
        self._words = words
        self._only_with_words = only_with_words
        self._unless = unless
        self._accept = accept

    def find(self, text: Text) -> Iterator[Finding]:
        for pattern, score in self._patterns:
            for match in pattern.finditer(text.folded):
                confirmed = self._score(match, score, text)
                if confirmed:
                    yield Finding(match.start(), match.end(), self._label, confirmed)

    def _score(self, match: re.Match[str], score: float, text: Text) -> float:
        value = match.group()
        valid = self._recognizer.validate_result(value)
        if valid is False or self._recognizer.invalidate_result(value) or not self._accept(value):
            return 0.0
        cued = bool(self._words) and bool(text.near(match.start()) & self._words)
        if (self._unless and text.before(match.start()) & self._unless) or (self._only_with_words and not cued):
            return 0.0
        return 1.0 if valid else max(score + _BOOST, THRESHOLD) if cued else score


# Presidio's flags are those of the package `regex`; these have the same value in `re`
_SHARED_FLAGS = int(re.DOTALL | re.MULTILINE | re.IGNORECASE)


def pattern_finders(languages: Collection[str] = ()) -> list[Finder]:
    """All finders that need no model, in the order that breaks ties. `languages` selects national numbers; empty selects all."""
    import presidio_analyzer.predefined_recognizers as pr

    return [
        Credentials(),
        PrivateKeys(),
        IssuedTokens(),
        NamedSecrets(),
        LabelledSecrets(),
        Emails(),
        SpeltEmails(),
        *_payment_finders(),
        PresidioFinder("NHS", pr.NhsRecognizer(), needs=r"\d{3}", words=cues("nhs", "patient", "health"), only_with_words=True),
        PresidioFinder("ITIN", pr.UsItinRecognizer(), needs=r"9\d\d", words=cues("itin", "tin", "taxpayer", "tax")),
        _ssn(),
        Phones(),
        PresidioFinder("PASSPORT", _passport(), needs=r"\d{6}", words=cues("passport", "pass", "reisepass", "passeport", "pasaporte")),
        PresidioFinder("BANK", pr.UsBankRecognizer(), needs=r"\d{8}", words=_ACCOUNT_WORDS),
        _ip(),
        PresidioFinder("MAC", pr.MacAddressRecognizer(), needs=r"[:-][0-9A-Fa-f]{2}[:-]|\.[0-9A-Fa-f]{4}\."),
        *_wallets(),
        Numbers(languages),
        CardCodes(),
        Dates(),
        Ages(),
        Addresses(),
        Urls(),
    ]


def precise_finders() -> list[Finder]:
    """The finders that leave ordinary ids, paths and addresses unchanged: for a document's name, its uri and its metadata keys."""
    return [Credentials(), PrivateKeys(), IssuedTokens(), Emails(), *_payment_finders(), InternationalPhones(), _ssn(only_written_out=True)]


_ACCOUNT_WORDS = cues("account", "acct", "bank", "debit", "checking", "savings", "routing", "konto", "kontonummer", "cuenta", "compte")


def _payment_finders() -> list[Finder]:
    import presidio_analyzer.predefined_recognizers as pr
    from presidio_analyzer.predefined_recognizers.generic.iban_patterns import regex_per_country

    return [Ibans(pr.IbanRecognizer(), regex_per_country), Cards(pr.CreditCardRecognizer())]


def _ssn(*, only_written_out: bool = False) -> PresidioFinder:
    from presidio_analyzer.predefined_recognizers import UsSsnRecognizer

    patterns = [_pattern("SSN", r"(?<![\w-])\d{3}-\d{2}-\d{4}(?![\w-])", 0.5)] if only_written_out else None
    words = frozenset() if only_written_out else cues("social", "security", "ssn", "ss")
    return PresidioFinder("SSN", UsSsnRecognizer(patterns=patterns), needs=r"\d{3}[- .\d]", words=words)


def _ip() -> PresidioFinder:
    from presidio_analyzer.predefined_recognizers import IpRecognizer

    # four numbers with dots between them are as often a version, or part of a longer number (an OID, a section)
    versions = cues("version", "release", "ver", "section", "kernel", "upgrade")
    bounded = [_pattern(p.name, rf"(?<!\d\.)(?:{_after_a_label(p.regex)})(?!\.\d)", p.score) for p in IpRecognizer.PATTERNS]
    needs = r"\.\d{1,3}\.\d|:[0-9A-Fa-f]{0,4}:"
    return PresidioFinder("IP", IpRecognizer(patterns=bounded), needs=needs, unless=versions, accept=_personal_address)


def _after_a_label(expression: str) -> str:
    """Allow an IPv6 address after a label's colon, such as `IP:`. Presidio refuses it after any colon."""
    return expression.replace(r"(?<![\w:])", r"(?:(?<![\w:])|(?<=[A-Za-z]{2}:))")


def _passport() -> PatternRecognizer:
    from presidio_analyzer.predefined_recognizers import UsPassportRecognizer

    # Presidio knows US numbers only; up to two letters and digits is the shape that most issuers use under ICAO 9303
    foreign = _pattern("Passport of most issuers (weak)", r"\b[A-Z]{1,2}\d{6,8}\b", 0.1)
    return UsPassportRecognizer(patterns=[*UsPassportRecognizer.PATTERNS, foreign])


def _wallets() -> list[Finder]:
    from presidio_analyzer import PatternRecognizer
    from presidio_analyzer.predefined_recognizers import CryptoRecognizer

    # Presidio's pattern has no boundaries: it finds (and refuses) a piece of every long base64 run
    bitcoin = _pattern("Bitcoin", r"(?<![A-Za-z0-9])(?-i:bc1|[13])[a-zA-HJ-NP-Z0-9]{25,59}(?![A-Za-z0-9])", 0.5)
    ether = _pattern("Ethereum", r"(?<![A-Za-z0-9])0x[0-9a-f]{40}(?![A-Za-z0-9])", 0.5)
    return [
        PresidioFinder("CRYPTO", CryptoRecognizer(patterns=[bitcoin]), needs=r"bc1|[13][A-Za-z0-9]{25}"),
        PresidioFinder("CRYPTO", PatternRecognizer("CRYPTO", patterns=[ether]), needs="0[xX][0-9a-fA-F]{40}"),
    ]


def _pattern(name: str, expression: str, score: float) -> Pattern:
    from presidio_analyzer import Pattern

    return Pattern(name, expression, score)


def _personal_address(value: str) -> bool:
    """Whether an address can be a person's: not `::`, loopback or a netmask, nor a year (`2006::`) or a scope (`a::b`) that parses."""
    address = ipaddress.ip_interface(value).ip
    if address.is_unspecified or address.is_loopback or address.is_multicast or value.startswith("255."):
        return False
    return address.version == 4 or (len(_HEXADECIMALS.findall(value)) > 1 and bool(_ANY_DIGIT.search(value)) and len(value) > 5)
