"""Examples of requests and answers, for OpenAPI. A test holds them to the records."""

from __future__ import annotations

from typing import Any, Final

_KEY: Final = "5b0f4b1f3c9d0d0e8c5a3f3a1e7d9c42"
_CHUNK: Final = "9f2c1d7e4b6a8c3f5e0d2b4a6c8e1f30"
_DOCUMENT: Final = {"document_key": _KEY, "document": "maintenance/t400.md", "title": "Turbine T400", "uri": "https://dms.example.com/t400"}
_INDEXED: Final = {**_DOCUMENT, "language": "en", "sequence": 7, "indexed_at": "2026-03-01T09:30:00Z"}
_TEXT: Final = "The guide bearing is greased every 3 weeks."

SEARCH: Final[dict[str, Any]] = {"query": "How often is the guide bearing greased?", "top": 5, "filters": {"languages": ["en"]}}
NAMED: Final[dict[str, Any]] = {"name": _KEY}
PASSAGE_NAMED: Final[dict[str, Any]] = {"name": _CHUNK}
FOUND: Final[dict[str, Any]] = {
    "passages": [
        {
            "chunk": _CHUNK,
            "text": _TEXT,
            "heading_path": ["Maintenance", "Bearings"],
            "score": 0.82,
            "citations": [{**_DOCUMENT, "page": 3, "ordinal": 12, "sequence": 7}],
        }
    ],
    "mode": "hybrid",
}
DOCUMENT: Final[dict[str, Any]] = {
    "document": _INDEXED,
    "passages": [{"chunk": _CHUNK, "ordinal": 12, "page": 3, "heading_path": ["Maintenance", "Bearings"], "text": _TEXT}],
    "next": None,
}
EXPLAINED: Final[dict[str, Any]] = {
    "documents": [
        {
            "origin": {"document": _INDEXED, "ordinals": [12]},
            "verdict": "searchable",
            "newest": 7,
            "event_time": "2026-03-01T09:29:58Z",
            "received_at": "2026-03-01T09:29:59Z",
            "landed_at": "2026-03-01T09:29:59Z",
            "stages": [{"stage": "index", "status": "done", "updated_at": "2026-03-01T09:30:00Z"}],
        }
    ]
}
RELATED: Final[dict[str, Any]] = {
    "document": _INDEXED,
    "related": [{**_DOCUMENT, "document": "maintenance/t500.md", "title": "Turbine T500", "shared": 2, "alike": 4}],
}
