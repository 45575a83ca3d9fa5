"""Configuration: `headrace.toml` in the working directory (or the file that HEADRACE_CONFIG names), then `HEADRACE_*` variables.

Nested keys take two underscores: `HEADRACE_EMBEDDING__MODEL`. Unknown keys, wrong types and impossible combinations are
refused at start-up with the bad value in the message; a secret's value is never shown.
"""

from __future__ import annotations

import base64
import binascii
import os
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from core.errors import ConfigurationError

Port = Annotated[int, Field(ge=0, le=65535)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Postgres(_Section):
    """URLs of a Postgres that is already there, one per role; all or none. Without them the embedded server is used."""

    owner_url: SecretStr | None = None
    pipeline_url: SecretStr | None = None
    reader_url: SecretStr | None = None
    dagster_url: SecretStr | None = None
    port: Port = 0

    @model_validator(mode="after")
    def _all_or_none(self) -> Postgres:
        urls = {name: getattr(self, name) for name in ("owner_url", "pipeline_url", "reader_url", "dagster_url")}
        missing = [name for name, url in urls.items() if url is None]
        if missing and len(missing) < len(urls):
            raise ValueError(f"an external Postgres needs all four URLs; missing: {', '.join(missing)}")
        return self


class Kafka(_Section):
    """A Kafka that is already there (`bootstrap`), or the embedded one."""

    bootstrap: str | None = None
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
        return self


class Neo4j(_Section):
    """A Neo4j that is already there (`url`), or the embedded one."""

    url: str | None = None
    username: str = "neo4j"
    password: SecretStr | None = None
    port: Port = 0

    @model_validator(mode="after")
    def _credentials(self) -> Neo4j:
        if self.url and not self.password:
            raise ValueError("an external Neo4j needs a password")
        return self


class Embedding(_Section):
    """The embedding model: a sentence-transformers name or path, or `minilm`, the wheel's all-MiniLM-L6-v2."""

    model: str = "minilm"
    revision: str | None = None
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    batch_tokens: Annotated[int, Field(ge=256)] = 16_384


class Chunking(_Section):
    """Bounds in the embedding model's tokens; `max_tokens` above the model's own limit is refused when the model is loaded."""

    max_tokens: Annotated[int, Field(ge=32, le=8192)] = 256


class Privacy(_Section):
    """`patterns`: patterns and checksums. `names`: also people, places and organisations, by the model that `names_model` names.

    `names_model` is a spaCy model's name or path, or `en_core_web_sm`, the wheel's.
    """

    profile: Literal["patterns", "names"] = "patterns"
    names_model: str | None = None

    @model_validator(mode="after")
    def _names_need_a_model(self) -> Privacy:
        if self.profile == "names" and not self.names_model:
            raise ValueError("profile 'names' needs names_model; without a model only 'patterns' can run")
        return self


class Parsing(_Section):
    """Bounds of one parse, each in its own worker process."""

    workers: Annotated[int, Field(ge=1, le=256)] = max(1, len(os.sched_getaffinity(0)))
    timeout_s: Annotated[float, Field(gt=0)] = 60.0
    memory_mb: Annotated[int, Field(ge=512)] = 4096
    max_bytes: Annotated[int, Field(ge=1)] = 256 * 1024 * 1024


class Fetching(_Section):
    """Where content by reference may come from. Empty lists allow nothing."""

    roots: tuple[Path, ...] = ()
    hosts: tuple[str, ...] = ()
    buckets: tuple[str, ...] = ()
    private_hosts: tuple[str, ...] = ()
    max_bytes: Annotated[int, Field(ge=1)] = 256 * 1024 * 1024
    timeout_s: Annotated[float, Field(gt=0)] = 30.0


class Dagster(_Section):
    port: Port = 3000


class Settings(BaseSettings):
    """Everything that can be configured, checked as a whole."""

    model_config = SettingsConfigDict(env_prefix="HEADRACE_", env_nested_delimiter="__", extra="forbid", frozen=True)

    data_dir: Path = Path(".headrace")
    cache_dir: Path | None = None
    master_key: SecretStr | None = None
    postgres: Postgres = Postgres()
    kafka: Kafka = Kafka()
    neo4j: Neo4j = Neo4j()
    embedding: Embedding = Embedding()
    chunking: Chunking = Chunking()
    privacy: Privacy = Privacy()
    parsing: Parsing = Parsing()
    fetching: Fetching = Fetching()
    dagster: Dagster = Dagster()

    @field_validator("master_key")
    @classmethod
    def _thirty_two_bytes(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            master_key_bytes(value)
        return value

    @property
    def jars(self) -> Path:
        """Where downloaded servers are kept: shared by every data folder of this user, unless `cache_dir` says otherwise."""
        base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
        return (self.cache_dir or Path(base).expanduser() / "headrace").absolute()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        toml = TomlConfigSettingsSource(settings_cls, os.environ.get("HEADRACE_CONFIG", "headrace.toml"))
        return init_settings, env_settings, toml


class Endpoints(_Section):
    """Where the three servers are, whoever started them. URLs carry passwords: never print one."""

    postgres_owner: SecretStr
    postgres_pipeline: SecretStr
    postgres_reader: SecretStr
    postgres_dagster: SecretStr
    kafka_bootstrap: str
    kafka_protocol: str
    kafka_mechanism: str | None = None
    kafka_username: str | None = None
    kafka_password: SecretStr | None = None
    neo4j_url: str
    neo4j_username: str
    neo4j_password: SecretStr
    master_key: SecretStr

    def kafka_client(self) -> dict[str, Any]:
        """librdkafka's properties for a client that logs in as us."""
        properties: dict[str, Any] = {"bootstrap.servers": self.kafka_bootstrap, "security.protocol": self.kafka_protocol}
        if self.kafka_username and self.kafka_password:
            properties |= {
                "sasl.mechanism": self.kafka_mechanism,
                "sasl.username": self.kafka_username,
                "sasl.password": self.kafka_password.get_secret_value(),
            }
        return properties


def master_key_bytes(value: SecretStr) -> bytes:
    """The 32 bytes behind a base64 master key. Raises ValueError, without the value, where it is anything else."""
    try:
        key = base64.b64decode(value.get_secret_value(), validate=True)
    except binascii.Error as error:
        raise ValueError("master_key must be base64") from error
    if len(key) != 32:
        raise ValueError(f"master_key must be 32 bytes in base64, was: {len(key)} bytes")
    return key


def load(**overrides: Any) -> Settings:
    """Read and check the configuration. Raises ConfigurationError naming each bad key and value."""
    _refuse_unknown_variables()
    try:
        return Settings(**overrides)
    except ValidationError as error:
        raise ConfigurationError(_explain(error), remedy="See docs/configuration.md.") from None


_OURS_BUT_NOT_SETTINGS = {"HEADRACE_CONFIG", "HEADRACE_DEBUG", "HEADRACE_DAGSTER_STORAGE"}


def _refuse_unknown_variables() -> None:
    """pydantic-settings ignores unknown variables; a misspelt one must not pass in silence."""
    fields = {f"HEADRACE_{name.upper()}" for name in Settings.model_fields}
    for name in os.environ:
        known = name in _OURS_BUT_NOT_SETTINGS or name.upper().split("__")[0] in fields
        if name.startswith("HEADRACE_") and not known:
            raise ConfigurationError(f"unknown variable {name}", remedy="See docs/configuration.md.")


def _explain(error: ValidationError) -> str:
    return "; ".join(_one_problem(dict(problem)) for problem in error.errors())


def _one_problem(problem: dict[str, Any]) -> str:
    key = ".".join(str(part) for part in problem["loc"]) or "configuration"
    message = str(problem["msg"]).removeprefix("Value error, ")
    secret = any(word in key for word in ("password", "key", "url")) or problem["type"] == "value_error"
    return f"{key}: {message}" if secret else f"{key}: {message}, was: {problem['input']!r}"
