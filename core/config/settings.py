"""Settings: `headrace.toml` in the working directory (or the file that HEADRACE_CONFIG names), then `HEADRACE_*` variables.

Nested keys take two underscores: `HEADRACE_EMBEDDING__MODEL`. Unknown keys, wrong types and impossible combinations are
refused at start-up with the bad value in the message; a secret's value is never shown.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import SecretStr, ValidationError, field_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from core.config.endpoints import master_key_bytes
from core.config.sections import Dagster, Embedding, Fetching, Kafka, Neo4j, Parsing, Postgres, Reranking, Serve, Stream
from core.configuration_file import DATA_DIR, NOT_SETTINGS, configuration_file
from core.errors import ConfigurationError
from core.policy import Chunking, EmbeddingModel, Evaluation, NearDuplicates, Policy, Privacy, Reading, Retention, overlaid
from core.section import Section, explain, meant


class Settings(BaseSettings):
    """Everything that can be configured, checked as a whole."""

    model_config = SettingsConfigDict(
        env_prefix="HEADRACE_", env_nested_delimiter="__", extra="forbid", frozen=True, hide_input_in_errors=True
    )

    _each = field_validator("*", mode="before")(meant)

    data_dir: Path = Path(DATA_DIR)
    cache_dir: Path | None = None
    master_key: SecretStr | None = None
    postgres: Postgres = Postgres()
    kafka: Kafka = Kafka()
    neo4j: Neo4j = Neo4j()
    embedding: Embedding = Embedding()
    reranking: Reranking = Reranking()
    chunking: Chunking = Chunking()
    privacy: Privacy = Privacy()
    reading: Reading = Reading()
    retention: Retention = Retention()
    near_duplicates: NearDuplicates = NearDuplicates()
    evaluation: Evaluation = Evaluation()
    parsing: Parsing = Parsing()
    fetching: Fetching = Fetching()
    stream: Stream = Stream()
    serve: Serve = Serve()
    dagster: Dagster = Dagster()

    @field_validator("master_key")
    @classmethod
    def _thirty_two_bytes(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            master_key_bytes(value)
        return value

    def policy(self, configuration: Mapping[str, Any]) -> Policy:
        """A tenant's policy: what its configuration says, and these settings where it says nothing. Raises PolicyError."""
        # without what computes it, which is not a tenant's to say
        model = EmbeddingModel(**{name: getattr(self.embedding, name) for name in EmbeddingModel.model_fields})
        return overlaid(Policy(**{name: getattr(self, name) for name in Policy.model_fields} | {"embedding": model}), configuration)

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
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, _Variables(settings_cls), _file(settings_cls)


def load(**overrides: Any) -> Settings:
    """Read and check the configuration. Raises ConfigurationError naming each bad key and value."""
    _refuse_unknown_variables()
    try:
        return Settings(**overrides)
    except ValidationError as error:
        raise ConfigurationError(explain(error), remedy=_REMEDY) from None


_REMEDY = "See docs/configuration.md."


class _Variables(EnvSettingsSource):
    """A section or a list in one variable is JSON; one that is not is refused as ours, not with pydantic's own error."""

    def decode_complex_value(self, field_name: str, field: FieldInfo, value: Any) -> Any:
        try:
            return super().decode_complex_value(field_name, field, value)
        except ValueError:
            # a whole section may hold secrets
            was = "" if _is_section(field) else f", was: {value[:200]!r}"
            raise ConfigurationError(f"{field_name}: must be JSON when it stands in one variable{was}", remedy=_REMEDY) from None


def _file(settings: type[BaseSettings]) -> TomlConfigSettingsSource:
    """`headrace.toml`, if it is there, or the file that HEADRACE_CONFIG names, which has to be."""
    named, path = os.environ.get("HEADRACE_CONFIG"), configuration_file()
    try:
        if named is not None and not path.is_file():
            raise ConfigurationError(f"HEADRACE_CONFIG names no file, was: {named!r}", remedy=_REMEDY)
        return TomlConfigSettingsSource(settings, path)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise ConfigurationError(f"cannot read {path}: {error}", remedy=_REMEDY) from None


def _refuse_unknown_variables() -> None:
    """pydantic-settings ignores unknown variables; a misspelt one must not pass in silence."""
    for name in os.environ:
        if name.upper().startswith("HEADRACE_") and name not in NOT_SETTINGS and not _is_setting(name):
            raise ConfigurationError(f"unknown variable {name}", remedy=_REMEDY)


def _is_setting(variable: str) -> bool:
    """Whether a variable is spelt as one of ours, as far as the section; the section refuses what it does not know."""
    top, *inner = variable.removeprefix("HEADRACE_").split("__", 1)
    field = Settings.model_fields.get(top.lower())
    return variable.isupper() and field is not None and (not inner or _is_section(field))


def _is_section(field: FieldInfo) -> bool:
    return isinstance(field.annotation, type) and issubclass(field.annotation, Section)
