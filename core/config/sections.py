"""The sections of `headrace.toml` that are the same for every tenant. What tenants may override is in `core.policy`."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, model_validator

from core.policy import EmbeddingModel
from core.postgres_url import postgres_url
from core.section import Section


def _postgres_url(value: SecretStr) -> SecretStr:
    return SecretStr(postgres_url(value.get_secret_value()))


def _neo4j_url(value: str) -> str:
    if not value.startswith(_NEO4J_SCHEMES) or "@" in value or not _has_a_port_or_none(value):
        raise ValueError("must begin with bolt:// or neo4j://, with or without +s or +ssc, and hold no password")
    return value


def _bootstrap(value: str) -> str:
    if "@" in value or "/" in value:
        raise ValueError("must be HOST:PORT, several with commas, and hold no password: that is password")
    return value


def _endpoint_url(value: str) -> str:
    if not value.startswith(("http://", "https://")) or "@" in value or not _has_a_port_or_none(value):
        raise ValueError("must begin with http:// or https://, and hold no password: that is api_key")
    return value


def _keys_url(value: str) -> str:
    if not value.startswith("https://") and urlsplit(value).hostname not in _LOOPBACK:
        raise ValueError("must begin with https://: who can change the keys on their way can sign any token")
    return _endpoint_url(value)


def _has_a_port_or_none(url: str) -> bool:
    try:
        return (urlsplit(url).port or 0) >= 0
    except ValueError:
        return False


def _device(value: str) -> str:
    if not _DEVICE.fullmatch(value):
        raise ValueError(f"must be auto, cpu, mps, cuda or cuda: and a number, was: {value!r}")
    return value


_DEVICE = re.compile(r"auto|cpu|mps|cuda(:\d{1,3})?")
_NEO4J_SCHEMES = tuple(f"{scheme}{tls}://" for scheme in ("bolt", "neo4j") for tls in ("", "+s", "+ssc"))
_LOOPBACK = ("127.0.0.1", "::1", "localhost")
Algorithm = Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
"""Of signatures, asymmetric ones alone (RFC 7518, 8037)."""
Port = Annotated[int, Field(ge=0, le=65535)]
Seconds = Annotated[float, Field(gt=0, le=86_400)]
PostgresUrl = Annotated[SecretStr, AfterValidator(_postgres_url)]
Bootstrap = Annotated[str, AfterValidator(_bootstrap)]
Neo4jUrl = Annotated[str, AfterValidator(_neo4j_url)]
EndpointUrl = Annotated[str, AfterValidator(_endpoint_url)]
KeysUrl = Annotated[str, AfterValidator(_keys_url)]
Device = Annotated[str, AfterValidator(_device)]


class Postgres(Section):
    """URLs of an external Postgres, one per role; all or none. Without them the embedded server is used."""

    owner_url: PostgresUrl | None = None
    pipeline_url: PostgresUrl | None = None
    reader_url: PostgresUrl | None = None
    dagster_url: PostgresUrl | None = None
    port: Port = 0

    @model_validator(mode="after")
    def _all_or_none(self) -> Postgres:
        urls = {name: getattr(self, name) for name in ("owner_url", "pipeline_url", "reader_url", "dagster_url")}
        missing = [name for name, url in urls.items() if url is None]
        if missing and len(missing) < len(urls):
            raise ValueError(f"an external Postgres needs all four URLs; missing: {', '.join(missing)}")
        return self


class Kafka(Section):
    """An external Kafka (`bootstrap`), or the embedded one."""

    bootstrap: Bootstrap | None = None
    username: str | None = None
    password: SecretStr | None = None
    protocol: Literal["PLAINTEXT", "SASL_PLAINTEXT", "SASL_SSL", "SSL"] = "SASL_SSL"
    mechanism: Literal["SCRAM-SHA-256", "SCRAM-SHA-512", "PLAIN"] = "SCRAM-SHA-256"
    partitions: Annotated[int, Field(ge=1, le=1000)] = 4
    replication: Annotated[int, Field(ge=1, le=9)] = 1
    port: Port = 0

    @model_validator(mode="after")
    def _credentials(self) -> Kafka:
        if self.bootstrap and self.protocol.startswith("SASL") and not (self.username and self.password):
            raise ValueError(f"protocol {self.protocol} needs username and password")
        if self.bootstrap and not self.protocol.startswith("SASL") and (self.username or self.password):
            raise ValueError(f"protocol {self.protocol} sends no username and no password")
        return self

    @model_validator(mode="after")
    def _one_broker(self) -> Kafka:
        if not self.bootstrap and (self.username or self.password):
            raise ValueError("username and password are for a Kafka that bootstrap names; the embedded one has its own")
        if not self.bootstrap and self.replication > 1:
            raise ValueError(f"the embedded Kafka is one broker: replication must be 1, was: {self.replication}")
        return self


class Neo4j(Section):
    """An external Neo4j (`url`), or the embedded one."""

    url: Neo4jUrl | None = None
    username: str = "neo4j"
    password: SecretStr | None = None
    port: Port = 0

    @model_validator(mode="after")
    def _credentials(self) -> Neo4j:
        if self.url and not self.password:
            raise ValueError("an external Neo4j needs a password")
        if self.password and not self.url:
            raise ValueError("password is for a Neo4j that url names; the embedded one has its own")
        return self


class Endpoint(Section):
    """An embedding server, for `embedding.backend` "http". `model` is the server's own name for the model."""

    url: EndpointUrl | None = None
    protocol: Literal["openai", "tei"] = "openai"
    model: str | None = None
    api_key: SecretStr | None = None
    batch_texts: Annotated[int, Field(ge=1, le=4096)] = 32
    concurrency: Annotated[int, Field(ge=1, le=256)] = 8
    timeout_s: Seconds = 30.0

    @model_validator(mode="after")
    def _of_a_server(self) -> Endpoint:
        named = [name for name in ("model", "api_key") if getattr(self, name) is not None]
        if named and not self.url:
            raise ValueError(f"{' and '.join(named)} are of the server that url names, and there is no url")
        return self


class Embedding(EmbeddingModel):
    """The embedding model, and what computes it."""

    backend: Literal["auto", "torch", "openvino", "http"] = "auto"
    device: Device = "auto"
    precision: Literal["auto", "f32", "bf16", "f16"] = "auto"
    batch_tokens: Annotated[int, Field(ge=256)] | None = None
    endpoint: Endpoint = Endpoint()

    @model_validator(mode="after")
    def _one_computes(self) -> Embedding:
        if self.backend == "http" and not self.endpoint.url:
            raise ValueError("backend 'http' needs endpoint.url")
        if self.backend != "http" and self.endpoint.url:
            raise ValueError(f"endpoint.url is for backend 'http', was: backend {self.backend!r}")
        return self

    @model_validator(mode="after")
    def _where(self) -> Embedding:
        if self.backend == "openvino" and self.device not in ("auto", "cpu"):
            raise ValueError(f"backend 'openvino' computes on the cpu, was: device {self.device!r}")
        if self.backend == "http" and (self.device, self.precision) != ("auto", "auto"):
            raise ValueError(f"device and precision are the endpoint's own affair, was: {self.device!r}, {self.precision!r}")
        return self


class RerankingEndpoint(Section):
    """A server that reranks, in place of a model here. `model` is the server's own name for its model."""

    url: EndpointUrl | None = None
    protocol: Literal["tei", "cohere"] = "tei"
    model: str | None = None
    api_key: SecretStr | None = None

    @model_validator(mode="after")
    def _of_a_server(self) -> RerankingEndpoint:
        named = [name for name in ("model", "api_key") if getattr(self, name) is not None]
        if named and not self.url:
            raise ValueError(f"{' and '.join(named)} are of the server that url names, and there is no url")
        return self


class Reranking(Section):
    """What reranks the best `candidates` of a search that asks for it, within `timeout_s`: a cross-encoder, or an endpoint."""

    model: str | None = None
    revision: str | None = None
    endpoint: RerankingEndpoint = RerankingEndpoint()
    timeout_s: Seconds = 2.0
    candidates: Annotated[int, Field(ge=1, le=1000)] = 50

    @model_validator(mode="after")
    def _one_reranks(self) -> Reranking:
        if self.model and self.endpoint.url:
            raise ValueError(f"either a model or an endpoint reranks, was: model {self.model!r} and endpoint.url")
        if self.revision and not self.model:
            raise ValueError("revision is of the model, and there is no model")
        return self


class Parsing(Section):
    """Limits of one parse, in a worker process of its own. `timeout_s`: for a document, or for each page if pages are recognised or read by
    models; `longest_s`: for all pages. `models_dir`: docling's models, for `reading.pdf` "model"."""

    workers: Annotated[int, Field(ge=1, le=256)] = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    timeout_s: Seconds = 60.0
    longest_s: Seconds = 900.0
    memory_mb: Annotated[int, Field(ge=512)] = 4096
    max_bytes: Annotated[int, Field(ge=1)] = 256 * 1024 * 1024
    models_dir: Path = Path("~/.cache/docling/models")

    @property
    def models(self) -> Path:
        """The folder of docling's models, with links resolved: the worker may read that folder, and follow no link."""
        return self.models_dir.expanduser().resolve()


class Fetching(Section):
    """Allowed origins of content by reference. Empty lists allow nothing."""

    roots: tuple[Path, ...] = ()
    hosts: tuple[str, ...] = ()
    buckets: tuple[str, ...] = ()
    private_hosts: tuple[str, ...] = ()
    max_bytes: Annotated[int, Field(ge=1)] = 256 * 1024 * 1024
    timeout_s: Seconds = 30.0


class Stream(Section):
    """`slots`: how many stream runs Dagster keeps alive; 0 leaves the tenants to `ingest_tenant` and to `headrace stream`."""

    slots: Annotated[int, Field(ge=0, le=64)] = 0
    metrics_port: Port | None = None


class Jwt(Section):
    """Tokens of an issuer that a tenant's users sign in to. `issuer`, `audience` and `jwks_url`, or none: then only API keys count.

    `principals`: claim → what comes before each of its values. `rate`: requests a second of one subject.
    """

    issuer: str | None = None
    audience: str | None = None
    jwks_url: KeysUrl | None = None
    algorithms: Annotated[tuple[Algorithm, ...], Field(min_length=1)] = ("RS256", "ES256")
    tenant_claim: str = "tenant"
    principals: dict[str, str] = Field(default_factory=lambda: {"sub": "user:", "groups": "group:"})
    leeway_s: Annotated[float, Field(ge=0, le=300)] = 30.0
    rate: Annotated[float, Field(ge=0.01, le=100_000)] = 10.0

    @model_validator(mode="after")
    def _all_or_none(self) -> Jwt:
        missing = [name for name in ("issuer", "audience", "jwks_url") if getattr(self, name) is None]
        if 0 < len(missing) < 3:
            raise ValueError(f"tokens need issuer, audience and jwks_url; missing: {', '.join(missing)}")
        return self


class Serve(Section):
    """`headrace serve`. `readers`: requests that are worked on at once; `timeout_s`: of one; `max_body_bytes`: of its body."""

    host: str = "127.0.0.1"
    port: Port = 8080
    readers: Annotated[int, Field(ge=1, le=256)] = 8
    timeout_s: Seconds = 10.0
    max_body_bytes: Annotated[int, Field(ge=1024)] = 65_536
    jwt: Jwt = Jwt()


class Dagster(Section):
    port: Port = 3000
