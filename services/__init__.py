"""The embedded Postgres, Kafka and Neo4j: real servers, loopback only, without Docker or a system Java.

What belongs here: fetching, starting, watching and stopping the three servers, their passwords, and who may log in to them.
What does not: what is in them (schemas, topics, graphs). A server that the configuration gives by URL is used and never touched.
"""

from __future__ import annotations

from services.embedded import down, endpoints, status, up
from services.publishers import authorize_publisher, revoke_publisher
from services.report import ServiceStatus

__all__ = ["ServiceStatus", "authorize_publisher", "down", "endpoints", "revoke_publisher", "status", "up"]
