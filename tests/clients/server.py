"""A server on loopback that answers as a test tells it to: what is tested is the client, and what goes over the wire."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Said = tuple[int, dict[str, str], bytes]


@dataclass
class Server:
    """`says`: what it answers, one after the other, the last for ever. `heard`: path, headers and body of each request."""

    says: list[Said] = field(default_factory=list)
    heard: list[tuple[str, dict[str, str], dict[str, Any]]] = field(default_factory=list)
    url: str = ""

    def next(self) -> Said:
        return self.says.pop(0) if len(self.says) > 1 else self.says[0]


@contextmanager
def serving() -> Iterator[Server]:
    """A server on a free port, while the block runs."""
    told = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            told.heard.append((self.path, {name.lower(): value for name, value in self.headers.items()}, json.loads(body)))
            status, headers, content = told.next()
            self.send_response(status)
            for name, value in {"content-length": str(len(content)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever, args=(0.02,))
        thread.start()
        told.url = f"http://127.0.0.1:{http.server_port}"
        yield told
        http.shutdown()
        thread.join()


def passage(number: int) -> dict[str, Any]:
    cited = {"document": f"page-{number}", "document_key": "0" * 32, "title": "Pumps", "uri": "", "page": None, "ordinal": 0, "sequence": 3}
    return {
        "chunk": f"{number:032x}",
        "text": f"passage {number}",
        "heading_path": ["Pumps"],
        "score": 1 - number / 10,
        "citations": [cited | {"indexed_at": "2026-11-30T10:00:00Z", "new_field": 1}],
        "scores": {"cosine": 0.5},
        "matched": {"terms": ["pump"], "highlights": [[0, 4]]},
        "another_new_field": {},
    }


def found(count: int, cursor: str = "") -> Said:
    answer = {"passages": [passage(number) for number in range(count)], "mode": "hybrid", "cursor": cursor, "took_s": 0.01}
    return 200, {"content-type": "application/json"}, json.dumps(answer).encode()


def refused(status: int, reason: str, **headers: str) -> Said:
    said = {"reason": reason, "message": "no", "remedy": "Ask for something."}
    return status, {name.replace("_", "-"): value for name, value in headers.items()}, json.dumps(said).encode()
