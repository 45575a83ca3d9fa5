# Headrace itself: the code location, Dagster's webserver and daemon, the command line. One image, exactly as locked.
FROM python:3.11.14-slim-trixie

ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    UV_NO_CACHE=1 \
    UV_LINK_MODE=copy \
    PYTHONUNBUFFERED=1 \
    VIRTUAL_ENV=/opt/headrace \
    PATH=/opt/headrace/bin:$PATH \
    DAGSTER_HOME=/etc/headrace \
    HEADRACE_DATA_DIR=/var/lib/headrace \
    HEADRACE_CACHE_DIR=/var/lib/headrace/cache

# libgomp: torch needs it
RUN apt-get update \
 && apt-get install --yes --no-install-recommends libgomp1 \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --system --uid 10001 --create-home --home-dir /home/headrace --shell /usr/sbin/nologin headrace \
 && install --directory --owner headrace --group headrace --mode 0700 /var/lib/headrace /var/lib/dagster

# the stack has a layer of its own: a change of our code does not install it again
WORKDIR /usr/src/headrace
COPY requirements.lock requirements-uv.lock ./
RUN python -m venv "$VIRTUAL_ENV" \
 && pip install --require-hashes --requirement requirements-uv.lock \
 && uv pip sync --require-hashes --compile-bytecode requirements.lock

COPY . .
RUN uv pip install --no-deps --no-build-isolation --compile-bytecode . \
 && install -D --mode 0644 docker/dagster.yaml docker/workspace.yaml --target-directory /etc/headrace

USER headrace
WORKDIR /var/lib/headrace
