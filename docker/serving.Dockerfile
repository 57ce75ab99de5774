# syntax=docker/dockerfile:1
# The serving process. Build from the repository's root:
#   docker build -f docker/serving.Dockerfile -t nautilus-ml-engine-serving .
# It answers from ONNX artifacts, which every version that can be one carries, and from arrays.
# LIBRARIES installs more from the lock for what needs it (docker/README.md says what does):
#   docker build -f docker/serving.Dockerfile --build-arg LIBRARIES="xgboost-cpu lightgbm" .
ARG PYTHON=3.11-slim-bookworm

FROM python:${PYTHON} AS libraries
ARG EXTRAS=serving,postgres
ARG LIBRARIES=""
ARG PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /build
RUN python -m venv /opt/venv
# Without the packages themselves: this layer changes with the libraries only.
COPY pyproject.toml requirements.lock README.md ./
RUN /opt/venv/bin/pip install --constraint requirements.lock ".[${EXTRAS}]" ${LIBRARIES}

FROM python:${PYTHON}
ARG GIT_COMMIT=""
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libgomp1 \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --gid 10001 engine \
    && useradd --uid 10001 --gid engine --no-create-home --home-dir /tmp engine \
    && install --directory --owner engine --group engine /data
COPY --from=libraries /opt/venv /opt/venv
WORKDIR /app
COPY alembic.ini pyproject.toml requirements.lock ./
COPY migrations ./migrations
COPY registry ./registry
COPY pipelines ./pipelines
COPY monitoring ./monitoring
COPY serving ./serving
RUN /opt/venv/bin/python -m compileall -q migrations registry pipelines monitoring serving \
    && printf '%s\n' "${GIT_COMMIT}" > GIT_COMMIT
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOME=/tmp \
    DATA_DIR=/data \
    NUMBA_CACHE_DIR=/data/numba \
    ML_ENGINE_HOST=0.0.0.0 \
    MLFLOW_DISABLE_TELEMETRY=true
USER 10001:10001
VOLUME /data
EXPOSE 8400
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as r; r.urlopen('http://127.0.0.1:' + os.environ.get('ML_ENGINE_PORT', '8400') + '/health/ready', timeout=3)"]
CMD ["python", "-m", "serving.app"]
