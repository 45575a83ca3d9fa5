"""The embedded Postgres, Kafka and Neo4j: real servers on loopback only, without Docker or a system Java.

This package downloads, starts, monitors and stops the three servers, and manages their passwords and logins. What the servers store
(schemas, topics, graphs) does not belong here. A server that the configuration gives by URL is used as it is and never managed.
"""

from __future__ import annotations

from services.embedded import down, endpoints, status, up
from services.publishers import authorize_publisher, revoke_publisher
from services.report import ServiceStatus

__all__ = ["ServiceStatus", "authorize_publisher", "down", "endpoints", "revoke_publisher", "status", "up"]
