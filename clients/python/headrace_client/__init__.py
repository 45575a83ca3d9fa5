"""A client of Headrace: search over HTTP, and publishing over Kafka (`headrace_client.publisher`).

Retrievers for LangChain, LlamaIndex and Haystack are in modules of those names. Every error is a `HeadraceError`.
"""

from headrace_client.answers import Alike, Answer, Citation, Containing, Matched, Passage, Scores
from headrace_client.client import AsyncClient, Client
from headrace_client.errors import HeadraceError, RateLimited, Refused, Unavailable
from headrace_client.question import Filters, Question

__all__ = [
    "Alike",
    "Answer",
    "AsyncClient",
    "Citation",
    "Client",
    "Containing",
    "Filters",
    "HeadraceError",
    "Matched",
    "Passage",
    "Question",
    "RateLimited",
    "Refused",
    "Scores",
    "Unavailable",
]
