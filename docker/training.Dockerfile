# syntax=docker/dockerfile:1
# The worker with every stage, and MLflow's server. Build from the repository's root:
#   docker build -f docker/training.Dockerfile -t nautilus-ml-engine-training .
# PyTorch comes from its index of builds without CUDA; for a machine with an NVIDIA GPU:
#   docker build -f docker/training.Dockerfile --build-arg PIP_EXTRA_INDEX_URL= .
ARG PYTHON=3.11-slim-bookworm

FROM python:${PYTHON} AS libraries
ARG EXTRAS=training,monitoring,postgres,s3
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
COPY MLproject conda.yaml alembic.ini pyproject.toml requirements.lock ./
COPY migrations ./migrations
COPY registry ./registry
COPY pipelines ./pipelines
COPY monitoring ./monitoring
RUN /opt/venv/bin/python -m compileall -q migrations registry pipelines monitoring \
    && printf '%s\n' "${GIT_COMMIT}" > GIT_COMMIT
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOME=/tmp \
    DATA_DIR=/data \
    NUMBA_CACHE_DIR=/data/numba \
    MPLCONFIGDIR=/tmp/matplotlib \
    GIT_PYTHON_REFRESH=quiet \
    MLFLOW_DISABLE_TELEMETRY=true
USER 10001:10001
VOLUME /data
STOPSIGNAL SIGTERM
CMD ["python", "-m", "pipelines.jobs.worker"]
