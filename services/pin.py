"""`python -m services.pin`: resolve the servers' jars with jgo and write the pin lists. Run it after changing a version in `ROOTS`.

It downloads and hashes every jar. `services.download` accepts only the jars in these lists.
"""

from __future__ import annotations

import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from services.download import registry, sha256

ROOTS = {
    # Kafka's distribution adds a logging binding, which its POM does not list
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
    """Return the lines of a pin list: the server's own jar, its runtime dependencies, and the jars in `extra`.

    The extra jars are not resolved together with the server, because jgo would let their POMs manage the server's versions.
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
