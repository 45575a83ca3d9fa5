"""docker-compose.yml is valid, pinned and on loopback only, has no default passwords, documents its variables, and starts in order."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from dagster._core.instance.config import dagster_instance_config

from core.config import load

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
DOCUMENTED = dict(re.findall(r"^(\w+)=(.*)$", (ROOT / ".env.example").read_text(encoding="utf-8"), re.MULTILINE))
# `$$` is a literal dollar, for the container's shell
VARIABLE = re.compile(r"(?<!\$)\$\{(\w+)(:[-?])?([^}]*)\}")
SECRET = re.compile(r"PASSWORD|SECRET|TOKEN|MASTER_KEY|AUTH$|_URL$")

each_service = pytest.mark.parametrize("name", sorted(SERVICES))


def environment() -> list[tuple[str, str]]:
    return [(name, str(value)) for service in SERVICES.values() for name, value in service.get("environment", {}).items()]


def runs_once(name: str) -> bool:
    awaited = [other.get("depends_on", {}).get(name, {}).get("condition") for other in SERVICES.values()]
    return "service_completed_successfully" in awaited and SERVICES[name]["restart"] == "no"


def test_it_is_valid_by_the_compose_specification() -> None:
    schema = json.loads((ROOT / "tests/data/compose-spec.json").read_text(encoding="utf-8"))
    jsonschema.Draft7Validator.check_schema(schema)
    assert [error.json_path for error in jsonschema.Draft7Validator(schema).iter_errors(COMPOSE)] == []


def test_it_has_the_services_that_the_design_names() -> None:
    assert {"postgres", "kafka", "neo4j", "dagster-webserver", "dagster-daemon", "code-location"} <= set(SERVICES)


def test_every_variable_it_needs_is_documented_and_every_documented_one_is_used() -> None:
    assert {name for name, _, _ in VARIABLE.findall(TEXT)} == set(DOCUMENTED)


def test_every_variable_stops_the_start_or_has_the_default_that_the_example_shows() -> None:
    for name, operator, default in VARIABLE.findall(TEXT):
        assert operator == ":?" or DOCUMENTED[name] == default, name


def test_the_example_holds_no_secret() -> None:
    assert [name for name, value in DOCUMENTED.items() if value and not name.endswith("_HOST_PORT")] == []


def test_every_secret_comes_from_a_variable_without_a_default() -> None:
    secrets = [(name, value) for name, value in environment() if SECRET.search(name) and not value.startswith("bolt://")]
    assert len(secrets) > 10
    assert [name for name, value in secrets if ":?" not in value] == []


def test_no_url_carries_a_literal_password() -> None:
    assert [password for password in re.findall(r"://\w+:([^@\s]+)@", TEXT) if not password.startswith("${")] == []


@each_service
def test_the_image_is_pinned_by_an_exact_version(name: str) -> None:
    image, _, tag = SERVICES[name]["image"].rpartition(":")
    assert image
    assert re.match(r"\d+\.\d+\.\d+", tag)


def test_the_base_of_our_own_image_is_pinned_and_it_does_not_run_as_root() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert re.findall(r"^FROM (\S+)", dockerfile, re.MULTILINE)[0].startswith("python:3.11.")
    assert re.findall(r"^USER (\S+)", dockerfile, re.MULTILINE)[-1:] == ["headrace"]
    assert dockerfile.count("--require-hashes") == 2


@each_service
def test_it_has_a_health_check_or_runs_once_and_is_waited_for(name: str) -> None:
    assert runs_once(name) or SERVICES[name]["healthcheck"]["test"]


@each_service
def test_it_waits_until_what_it_needs_is_ready(name: str) -> None:
    for needed, how in SERVICES[name].get("depends_on", {}).items():
        assert how["condition"] == ("service_completed_successfully" if runs_once(needed) else "service_healthy")


@each_service
def test_ports_are_published_on_loopback_only(name: str) -> None:
    assert [port for port in SERVICES[name].get("ports", []) if not port.startswith("127.0.0.1:")] == []


@each_service
def test_volumes_are_named_or_files_of_ours_that_are_read_only(name: str) -> None:
    for source, *_, last in (volume.split(":") for volume in SERVICES[name].get("volumes", [])):
        assert source in COMPOSE["volumes"] or (last == "ro" and (ROOT / source).is_file()), source


def test_our_containers_settings_are_settings_that_exist(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in SERVICES["code-location"]["environment"].items():
        monkeypatch.setenv(name, VARIABLE.sub("A" * 43 + "=" if name == "HEADRACE_MASTER_KEY" else "secret", value))
    monkeypatch.chdir(tmp_path)  # so that no headrace.toml is found
    settings = load()
    assert settings.postgres.owner_url is not None
    assert settings.kafka.bootstrap == "kafka:9092"
    assert settings.neo4j.url == "bolt://neo4j:7687"


def test_dagsters_own_processes_hold_no_key_and_no_login_but_dagsters() -> None:
    for name in ("dagster-webserver", "dagster-daemon"):
        assert set(SERVICES[name]["environment"]) == {"DAGSTER_POSTGRES_URL"}


def test_dagster_accepts_its_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAGSTER_POSTGRES_URL", "postgresql+psycopg2://headrace_dagster:secret@postgres:5432/dagster")
    configuration, _ = dagster_instance_config(str(ROOT / "docker"))
    assert configuration["telemetry"]["enabled"] is False
    assert configuration["storage"]["postgres"]["postgres_url"] == {"env": "DAGSTER_POSTGRES_URL"}


def test_dagster_finds_the_code_location_where_it_listens() -> None:
    server = yaml.safe_load((ROOT / "docker/workspace.yaml").read_text(encoding="utf-8"))["load_from"][0]["grpc_server"]
    assert server["host"] in SERVICES
    assert str(server["port"]) in SERVICES[server["host"]]["command"]


@pytest.mark.parametrize("script", sorted((ROOT / "docker").glob("*.sh")), ids=lambda script: script.name)
def test_the_scripts_parse_and_may_be_run(script: Path) -> None:
    bash = shutil.which("bash")
    assert bash
    assert subprocess.run([bash, "-n", str(script)], check=False).returncode == 0
    assert script.stat().st_mode & 0o111
