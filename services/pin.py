"""`python -m services.pin`: resolve the servers again, with jgo, and write their pin lists. Run it to move to another version.

Every jar is fetched and hashed here; what it then lists is what `services.download` accepts.
"""

from __future__ import annotations

import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from services.download import registry, sha256

ROOTS = {
    # Kafka's own distribution adds the binding through which it logs; its POM does not name one
    "kafka": ("org.apache.kafka:kafka_2.13:4.1.2", "org.apache.logging.log4j:log4j-slf4j-impl:2.25.3"),
    "neo4j": ("org.neo4j:neo4j:5.26.30",),
}
_HEADER = "# Written by `python -m services.pin`: group:artifact:version[:classifier] SHA-256, the server's own jar first.\n"


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(tempfile.mkdtemp(prefix="headrace-pin-"))
    for server, (root, *extra) in ROOTS.items():
        lines = pinned(root, tuple(extra), folder)
        (Path(__file__).parent / "jars" / f"{server}.txt").write_text(_HEADER + "\n".join(lines) + "\n", encoding="utf-8")
        sys.stdout.write(f"{server}: {len(lines)} jars\n")


def pinned(server: str, extra: tuple[str, ...], folder: Path) -> list[str]:
    """The lines of a pin list: the server's own jar, then every other that it needs at run time, then `extra` as they stand.

    The extra ones are not resolved together with the server: jgo would let their POMs manage the server's versions.
    """
    context = registry(folder)
    inputs, transitive = context.resolver.resolve([context.create_dependency(server)])
    needed = {each.artifact.key: each.artifact for each in transitive if each.scope in {"compile", "runtime"}}
    added = [context.create_dependency(each).artifact for each in extra]
    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(_line, [inputs[0].artifact, *(needed[key] for key in sorted(needed)), *added]))


def _line(artifact: Any) -> str:
    group, name, version, classifier, packaging = artifact.key
    if packaging != "jar":
        raise SystemExit(f"{group}:{name} is a {packaging}, not a jar")
    coordinate = ":".join(part for part in (group, name, version, classifier) if part)
    return f"{coordinate} {sha256(artifact.resolve())}"


if __name__ == "__main__":
    main()
