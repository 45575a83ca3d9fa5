"""The configuration: what is refused, that no secret is ever shown, and who wins."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pydantic import BaseModel, SecretStr, ValidationError

from core.config import Dagster, Endpoints, Settings, load, master_key_bytes
from core.errors import ConfigurationError, PolicyError

SECRET = "hunter2-correct-horse"
URLS = {
    f"HEADRACE_POSTGRES__{role}_URL": f"postgresql://{role}:{SECRET}@db/headrace" for role in ("OWNER", "PIPELINE", "READER", "DAGSTER")
}
SECTIONS = [name for name, field in Settings.model_fields.items() if isinstance(field.default, BaseModel)]

Configure = Callable[..., Settings]


@pytest.fixture(autouse=True)
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty working directory and none of our variables."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.upper().startswith("HEADRACE_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def configure(monkeypatch: pytest.MonkeyPatch) -> Configure:
    """Loads with this headrace.toml and these variables."""

    def load_with(toml: str = "", **variables: str) -> Settings:
        Path("headrace.toml").write_text(toml, encoding="utf-8")
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        return load()

    return load_with


@pytest.fixture
def refusal(configure: Configure) -> Callable[..., str]:
    """The message of a configuration that is refused."""

    def refused(toml: str = "", **variables: str) -> str:
        with pytest.raises(ConfigurationError) as caught:
            configure(toml, **variables)
        assert caught.value.reason == "bad-configuration"
        assert caught.value.remedy
        assert SECRET not in "".join(_chain(caught.value))
        return caught.value.detail

    return refused


def _chain(error: BaseException | None) -> Iterator[str]:
    """What a traceback shows: the error, and what it is said to come from."""
    while error is not None:
        yield f"{error!r} {error}"
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def test_without_a_file_and_variables_everything_has_a_default() -> None:
    settings = load()
    assert settings == Settings()
    assert settings.postgres.owner_url is None
    assert settings.parsing.workers >= 1


BAD = [
    ("data_dir", "3", "3"),
    ("data_dir", '""', "''"),
    ("embedding.model", "5", "5"),
    ("embedding.model", '""', "''"),
    ("embedding.device", '"gpu"', "'gpu'"),
    ("embedding.device", '"cuda:x"', "'cuda:x'"),
    ("embedding.backend", '"onnx"', "'onnx'"),
    ("embedding.precision", '"int8"', "'int8'"),
    ("embedding.dimension", "0", "0"),
    ("embedding.batch_tokens", "255", "255"),
    ("embedding.endpoint.protocol", '"grpc"', "'grpc'"),
    ("embedding.endpoint.batch_texts", "0", "0"),
    ("embedding.endpoint.timeout_s", "0.0", "0.0"),
    ("embedding.endpoint", '"http://e"', "of type str"),
    ("chunking.max_tokens", "8193", "8193"),
    ("chunking.max_tokens", '"many"', "'many'"),
    ("chunking.max_tokens", "64.5", "64.5"),
    ("chunking.max_tokens", "true", "True"),
    ("chunking.max_tokens", "1979-05-27", "of type date"),
    ("chunking.strategy", '"magic"', "'magic'"),
    ("chunking.strategy", '""', "''"),
    ("chunking.formats.csv", '"rows"', "'rows'"),
    ("kafka.partitions", "0", "0"),
    ("kafka.protocol", '"TLS"', "'TLS'"),
    ("kafka.port", "65536", "65536"),
    ("parsing.timeout_s", "0.0", "0.0"),
    ("parsing.timeout_s", "inf", "inf"),
    ("parsing.timeout_s", "nan", "nan"),
    ("parsing.timeout_s", "true", "True"),
    ("parsing.memory_mb", "-1", "-1"),
    ("parsing.workers", "[2]", "of type list"),
    ("fetching.hosts", '"example.com"', "'example.com'"),
    ("fetching.roots", "[1]", "1"),
    ("privacy.profile", '"none"', "'none'"),
    ("dagster.port", "-1", "-1"),
]


@pytest.mark.parametrize(("key", "value", "shown"), BAD)
def test_a_bad_value_in_the_file_is_refused_with_key_and_value(refusal: Callable[..., str], key: str, value: str, shown: str) -> None:
    message = refusal(f"{key} = {value}")
    assert message.startswith(key)
    assert message.endswith(f"was: {shown}")


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("HEADRACE_CHUNKING__MAX_TOKENS", "many"),
        ("HEADRACE_CHUNKING__MAX_TOKENS", ""),
        ("HEADRACE_CHUNKING__MAX_TOKENS", "31"),
        ("HEADRACE_EMBEDDING__DEVICE", "gpu"),
        ("HEADRACE_DATA_DIR", ""),
        ("HEADRACE_FETCHING__ROOTS", "/data"),
        ("HEADRACE_FETCHING__HOSTS", '["a",'),
        ("HEADRACE_PARSING__TIMEOUT_S", "soon"),
    ],
)
def test_a_bad_variable_is_refused_with_its_value(refusal: Callable[..., str], variable: str, value: str) -> None:
    message = refusal(**{variable: value})
    assert variable.lower().rpartition("__")[2].removeprefix("headrace_") in message
    assert message.endswith(f"was: {value!r}")


def test_every_problem_is_told_at_once(refusal: Callable[..., str]) -> None:
    message = refusal("[chunking]\nmax_tokens = 1\n[dagster]\nport = -1", HEADRACE_EMBEDDING__DEVICE="gpu")
    assert all(key in message for key in ("chunking.max_tokens", "dagster.port", "embedding.device"))


@pytest.mark.parametrize("toml", ["datadir = 'x'", "[embeding]\nmodel = 'x'", "[embedding]\nmodle = 'x'", "[kafka.port]\nx = 1"])
def test_an_unknown_key_is_refused(refusal: Callable[..., str], toml: str) -> None:
    refusal(toml)


@pytest.mark.parametrize(
    "variable",
    [
        "HEADRACE_DATADIR",
        "HEADRACE_",
        "HEADRACE_EMBEDDING_MODEL",
        "HEADRACE_EMBEDDING__MODLE",
        "HEADRACE_EMBEDDING__",
        "HEADRACE_EMBEDDING__MODEL__NAME",
        "HEADRACE_DATA_DIR__X",
        "HEADRACE_MODEL_CONFIG",
        "HEADRACE_JARS",
        "headrace_data_dir",
        "Headrace_Data_Dir",
        "headrace_datadir",
        "HEADRACE_EMBEDDING__model",
    ],
)
def test_a_misspelt_variable_is_refused(refusal: Callable[..., str], variable: str) -> None:
    refusal(**{variable: "x"})


ENDPOINT = {"HEADRACE_EMBEDDING__BACKEND": "http", "HEADRACE_EMBEDDING__ENDPOINT__URL": "https://e/v1"}
IMPOSSIBLE = {
    "some urls of four": {name: url for name, url in URLS.items() if "OWNER" not in name},
    "urls of something else": URLS | {"HEADRACE_POSTGRES__OWNER_URL": f"mysql://u:{SECRET}@db/headrace"},
    "a url whose password has a percent sign": URLS | {"HEADRACE_POSTGRES__OWNER_URL": f"postgresql://u:50%{SECRET}@db/headrace"},
    "a url whose password has an at sign": URLS | {"HEADRACE_POSTGRES__OWNER_URL": f"postgresql://u:a@{SECRET}@db/headrace"},
    "an empty url": URLS | {"HEADRACE_POSTGRES__OWNER_URL": ""},
    "names without a model": {"HEADRACE_PRIVACY__PROFILE": "names"},
    "sasl without a password": {"HEADRACE_KAFKA__BOOTSTRAP": "kafka:9092", "HEADRACE_KAFKA__USERNAME": "us"},
    "a password that is not sent": {
        "HEADRACE_KAFKA__BOOTSTRAP": "kafka:9092",
        "HEADRACE_KAFKA__PROTOCOL": "SSL",
        "HEADRACE_KAFKA__USERNAME": "us",
        "HEADRACE_KAFKA__PASSWORD": SECRET,
    },
    "a kafka with a password in its address": {
        "HEADRACE_KAFKA__BOOTSTRAP": f"us:{SECRET}@kafka:9092",
        "HEADRACE_KAFKA__PROTOCOL": "PLAINTEXT",
    },
    "a kafka that is a url": {"HEADRACE_KAFKA__BOOTSTRAP": f"SASL_SSL://{SECRET}:9092", "HEADRACE_KAFKA__PROTOCOL": "PLAINTEXT"},
    "a password for our own kafka": {"HEADRACE_KAFKA__PASSWORD": SECRET},
    "copies on one broker": {"HEADRACE_KAFKA__REPLICATION": "3"},
    "neo4j without a password": {"HEADRACE_NEO4J__URL": "bolt://neo4j:7687"},
    "a password for our own neo4j": {"HEADRACE_NEO4J__PASSWORD": SECRET},
    "neo4j over http": {"HEADRACE_NEO4J__URL": f"http://neo4j:{SECRET}@neo4j:7474", "HEADRACE_NEO4J__PASSWORD": SECRET},
    "neo4j with a password in its url": {"HEADRACE_NEO4J__URL": f"bolt://neo4j:{SECRET}@neo4j:7687", "HEADRACE_NEO4J__PASSWORD": SECRET},
    "an endpoint with a password in its url": ENDPOINT | {"HEADRACE_EMBEDDING__ENDPOINT__URL": f"https://u:{SECRET}@e"},
    "neo4j with a port that is none": {"HEADRACE_NEO4J__URL": f"bolt://neo4j:{SECRET}", "HEADRACE_NEO4J__PASSWORD": SECRET},
    "an endpoint with a port that is none": ENDPOINT | {"HEADRACE_EMBEDDING__ENDPOINT__URL": f"https://e:{SECRET}/v1"},
    "an endpoint that is no url": ENDPOINT | {"HEADRACE_EMBEDDING__ENDPOINT__URL": "e:8080"},
    "a short master key": {"HEADRACE_MASTER_KEY": base64.b64encode(SECRET.encode()).decode()},
    "a master key that is no base64": {"HEADRACE_MASTER_KEY": SECRET},
    "a master key that is no ascii": {"HEADRACE_MASTER_KEY": f"é{SECRET}"},
    "an empty master key": {"HEADRACE_MASTER_KEY": ""},
}


@pytest.mark.parametrize("variables", IMPOSSIBLE.values(), ids=IMPOSSIBLE)
def test_what_cannot_work_together_is_refused(refusal: Callable[..., str], variables: dict[str, str]) -> None:
    refusal(**variables)


@pytest.mark.parametrize(
    ("toml", "shown"),
    [
        ("backend = 'http'", "backend 'http' needs endpoint.url"),
        ("endpoint.url = 'https://e'", "was: backend 'auto'"),
        ("backend = 'torch'\nendpoint.url = 'https://e'", "was: backend 'torch'"),
        ("backend = 'openvino'\ndevice = 'cuda:1'", "was: device 'cuda:1'"),
        ("backend = 'http'\ndevice = 'cuda'\nendpoint.url = 'https://e'", "was: 'cuda', 'auto'"),
        (f"endpoint.model = 'm'\nendpoint.api_key = '{SECRET}'", "model and api_key are of the server that url names"),
    ],
)
def test_a_backend_that_cannot_work_is_refused_with_what_was_asked(refusal: Callable[..., str], toml: str, shown: str) -> None:
    assert shown in refusal(f"[embedding]\n{toml}")


def test_an_endpoint_and_its_key_are_taken_and_the_key_is_not_shown(configure: Configure) -> None:
    embedding = configure(HEADRACE_EMBEDDING__ENDPOINT__API_KEY=SECRET, **ENDPOINT).embedding
    assert embedding.endpoint.api_key is not None
    assert embedding.endpoint.api_key.get_secret_value() == SECRET
    assert SECRET not in f"{embedding!r} {embedding.model_dump_json()}"


@pytest.mark.parametrize("device", ["auto", "cpu", "mps", "cuda", "cuda:0", "cuda:12"])
def test_a_device_may_have_a_number(configure: Configure, device: str) -> None:
    assert configure(HEADRACE_EMBEDDING__DEVICE=device).embedding.device == device


@pytest.mark.parametrize(
    "toml",
    [
        f'postgres = "postgresql://u:{SECRET}@db/headrace"',
        f'[kafka]\npasswrd = "{SECRET}"',
        f'[kafka]\nusername = {{password = "{SECRET}"}}',
        f'[kafka]\nusername = ["{SECRET}"]',
        f'neo4j = ["{SECRET}"]',
        f'[postgres]\nowner_url = ["{SECRET}"]',
        f'[neo4j.password]\nvalue = "{SECRET}"',
        f'embedding.endpoint = "{SECRET}"',
        f'embedding.endpoint.key = "{SECRET}"',
        f'secret = "{SECRET}"',
        f'master_key = "{SECRET}"',
        f'master_key = ["{SECRET}"]',
        f'master_key = "{SECRET}',
    ],
)
def test_a_secret_in_the_wrong_place_of_the_file_is_not_shown(refusal: Callable[..., str], toml: str) -> None:
    refusal(toml)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("HEADRACE_POSTGRES", f'{{"owner_url": "{SECRET}"'),
        ("HEADRACE_POSTGRES", f"postgresql://u:{SECRET}@db/headrace"),
        ("HEADRACE_KAFKA", f'{{"pasword": "{SECRET}"}}'),
        ("HEADRACE_KAFKA", f'["{SECRET}"]'),
        ("HEADRACE_KAFKA__PASWORD", SECRET),
        ("HEADRACE_NEO4J__PASSWORD__VALUE", SECRET),
        ("HEADRACE_PASSWORD", SECRET),
        ("HEADRACE_MASTERKEY", SECRET),
    ],
)
def test_a_secret_in_the_wrong_variable_is_not_shown(refusal: Callable[..., str], variable: str, value: str) -> None:
    refusal(**{variable: value})


def test_a_secret_is_in_no_repr_dump_or_error_of_pydantics(configure: Configure) -> None:
    key = base64.b64encode(SECRET.ljust(32, "-").encode()).decode()
    kafka = {"HEADRACE_KAFKA__BOOTSTRAP": "kafka:9092", "HEADRACE_KAFKA__USERNAME": "us", "HEADRACE_KAFKA__PASSWORD": SECRET}
    settings = configure(HEADRACE_MASTER_KEY=key, HEADRACE_NEO4J__URL="neo4j+s://n", HEADRACE_NEO4J__PASSWORD=SECRET, **URLS, **kafka)
    shown = f"{settings!r} {settings} {settings.model_dump()} {settings.model_dump_json()} {settings.postgres!r}"
    assert SECRET not in shown
    assert key not in shown
    assert settings.kafka.password is not None
    assert settings.kafka.password.get_secret_value() == SECRET
    with pytest.raises(ValidationError) as caught:
        Settings(kafka={"password": [SECRET]}, neo4j=SECRET)  # type: ignore[arg-type]
    assert SECRET not in str(caught.value)


def test_where_the_servers_are_is_shown_without_passwords() -> None:
    secret = SecretStr(SECRET)
    urls = {f"postgres_{role}": secret for role in ("owner", "pipeline", "reader", "dagster")}
    kafka = {"kafka_bootstrap": "k:1", "kafka_protocol": "SASL_SSL", "kafka_username": "us", "kafka_password": secret}
    neo4j = {"neo4j_url": "bolt://n", "neo4j_username": "neo4j", "neo4j_password": secret}
    endpoints = Endpoints.model_validate({**urls, **kafka, **neo4j, "master_key": secret})
    assert SECRET not in f"{endpoints!r} {endpoints.model_dump_json()}"
    assert endpoints.kafka_client()["sasl.password"] == SECRET


def test_a_master_key_is_32_bytes() -> None:
    key = bytes(range(32))
    assert master_key_bytes(SecretStr(base64.b64encode(key).decode())) == key


# --- which file, and who wins


@pytest.mark.parametrize("named", ["", "missing.toml", ".", "~nobody-of-that-name/headrace.toml", "x" * 5000])
def test_a_named_file_has_to_be_there(refusal: Callable[..., str], named: str) -> None:
    assert named[:100] in refusal(HEADRACE_CONFIG=named)


def test_a_named_file_is_read_and_the_one_in_the_working_directory_is_not(configure: Configure, tmp_path: Path) -> None:
    (tmp_path / "other.toml").write_text("[dagster]\nport = 4000", encoding="utf-8")
    assert configure("[dagster]\nport = 5000\n[chunking]\nmax_tokens = 64", HEADRACE_CONFIG="other.toml") == Settings(
        dagster=Dagster(port=4000)
    )


@pytest.mark.parametrize("content", [b"x = [", b"\xff\xfe", b"a = 1\na = 2", b"[kafka]\n[kafka]"])
def test_a_file_that_is_no_toml_is_refused(refusal: Callable[..., str], tmp_path: Path, content: bytes) -> None:
    (tmp_path / "broken.toml").write_bytes(content)
    assert "broken.toml" in refusal(HEADRACE_CONFIG="broken.toml")


def test_an_argument_beats_a_variable_and_a_variable_beats_the_file(configure: Configure) -> None:
    toml = "[chunking]\nmax_tokens = 64\n[dagster]\nport = 4000\n[embedding]\nmodel = 'file'\nrevision = 'file'"
    configure(toml, HEADRACE_CHUNKING__MAX_TOKENS="65", HEADRACE_EMBEDDING__MODEL="variable")
    settings = load(chunking={"max_tokens": 66})
    assert settings.chunking.max_tokens == 66
    assert settings.dagster.port == 4000
    assert (settings.embedding.model, settings.embedding.revision) == ("variable", "file")


def test_a_section_in_one_variable_is_json_and_its_parts_beat_it(configure: Configure) -> None:
    settings = configure(
        HEADRACE_PARSING='{"workers": 2, "memory_mb": 1024}', HEADRACE_PARSING__WORKERS="3", HEADRACE_FETCHING__ROOTS='["/a", "/b"]'
    )
    assert (settings.parsing.workers, settings.parsing.memory_mb) == (3, 1024)
    assert settings.fetching.roots == (Path("/a"), Path("/b"))


def test_what_is_loaded_does_not_change() -> None:
    settings = load()
    for part, name in ((settings, "data_dir"), (settings.kafka, "port")):
        with pytest.raises(ValidationError):
            setattr(part, name, 1)


@pytest.mark.parametrize("section", SECTIONS)
def test_every_key_can_be_set_by_the_variable_that_its_name_gives(configure: Configure, section: str) -> None:
    """Each with its own default, so that no combination is impossible."""
    defaults = {name: value for name, value in getattr(Settings(), section).model_dump(mode="json").items() if value is not None}
    variables = {
        f"HEADRACE_{section}__{name}".upper(): value if isinstance(value, str) else json.dumps(value) for name, value in defaults.items()
    }
    assert configure(**variables) == Settings()


# --- whatever the variables hold

_PATHS = [f"{s}__{f}" for s in SECTIONS for f in type(Settings.model_fields[s].default).model_fields]
_NAMES = st.one_of(
    st.sampled_from([*_PATHS, *Settings.model_fields]).map(str.upper),
    st.builds("__".join, st.lists(st.sampled_from([*SECTIONS, "", "model", "roots", "x"]), min_size=1, max_size=4)).map(str.upper),
    st.text(st.characters(exclude_characters="=\0", exclude_categories=["Cs"]), max_size=12),
)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["model", "port", "password", "x"]), inner, max_size=3),
    max_leaves=5,
)
_VALUES = st.one_of(
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=30),
    st.binary(max_size=8).map(lambda raw: raw.replace(b"\0", b"").decode("utf-8", "surrogateescape")),
    _JSON.map(json.dumps).filter(lambda text: "\0" not in text),
    st.sampled_from(["0", "1", "-1", "1e400", "nan", "true", "null", "[]", "{}", '""', "postgresql://x", "bolt://x", "minilm", "names"]),
)


@hypothesis_settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(variables=st.dictionaries(_NAMES, _VALUES, max_size=4))
@example(variables={"KAFKA": "["})
@example(variables={"FETCHING__ROOTS": "/x"})
@example(variables={"POSTGRES": "null"})
def test_any_variables_load_or_are_refused_as_configuration(variables: dict[str, str]) -> None:
    with pytest.MonkeyPatch.context() as environment:
        for name, value in variables.items():
            environment.setenv(f"HEADRACE_{name}", value)
        with suppress(ConfigurationError):
            assert load() == load()


def test_a_tenant_has_what_it_says_itself_and_otherwise_the_file(configure: Configure) -> None:
    settings = configure('[reading]\npdf = "text"\n[privacy]\nprofile = "names"\nnames_model = "en_core_web_sm"')
    assert settings.policy({}).reading.pdf == "text"
    own = settings.policy({"owner": "team-a", "reading": {"pdf": "layout"}, "privacy": {"profile": "patterns"}})
    assert (own.reading.pdf, own.privacy.profile, own.privacy.names_model) == ("layout", "patterns", "en_core_web_sm")


@pytest.mark.parametrize(
    ("configuration", "said"),
    [
        ({"reading": {"pdf": "best"}}, "pdf"),
        ({"reading": {"page": 1}}, "reading.page: there is no such setting"),
        ({"reading": "text"}, "was: of type str"),
        ({"privacy": {"profile": "names"}}, "needs names_model"),
    ],
)
def test_what_a_tenant_cannot_have_is_refused_with_its_value(configure: Configure, configuration: dict[str, object], said: str) -> None:
    with pytest.raises(PolicyError) as refused:
        configure().policy(configuration)
    assert (refused.value.reason, said in refused.value.detail) == ("bad-policy", True)
