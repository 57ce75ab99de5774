"""The processes of docker/compose.yaml, with its commands and variables, on real servers.

Only what a container engine would do is done by the test: names of services become addresses of
this machine, the volume and the secret become paths. Each process runs in a folder that holds what
its image copies. Serving has an environment of its own, installed as its Dockerfile says; what runs
in the other image has the environment of the tests.
"""

import time

import httpx
import numpy as np
import polars as pl
import pytest

from tests.docker.composed import Composed
from tests.docker.servers import wait_for, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.integration]
MODEL, N_ROWS = "risks", 400
TRAINING = {
    "model_id": MODEL,
    "template": "tabular",
    "source": "data",
    "path": "risks",
    "options": {"target": "risk"},
    "parameters": {"rounds": 30, "nthread": 1, "min_child_weight": 2},
}


def wait_for_job(client, job_id, seconds=180):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        job = client.get(f"/jobs/{job_id}").raise_for_status().json()
        if job["state"] not in ("queued", "leased"):
            return job
        time.sleep(0.3)
    raise AssertionError(f"job {job_id} has not ended: {job}")


def table():
    rng = np.random.default_rng(0)
    age, city = rng.integers(18, 80, N_ROWS), rng.choice(["Rome", "Oslo"], N_ROWS)
    high = 0.1 * (age - 50) + 2.0 * (city == "Rome") - 1 + rng.normal(size=N_ROWS) > 0
    return pl.DataFrame({"age": age, "city": city, "risk": np.where(high, "high", "low")})


def test_the_loop_is_walked_once_on_postgresql_and_s3(tmp_path, postgres, s3, serving_bin):
    composed = Composed(tmp_path, postgres, s3.url, {"serving": serving_bin}, DRIFT_INTERVAL="5s")
    try:
        walk(composed, s3)
    finally:
        ended = composed.processes.stop()
    assert ended["serving"] == 0


def walk(composed, s3):
    for name in ("bucket", "migrate", "migrate-mlflow"):
        composed.run(name)
    mlflow, serving = composed.start("mlflow"), composed.start("serving")
    wait_for(f"{composed.mlflow}/health", mlflow)
    wait_for(f"{composed.address}/health/ready", serving)
    composed.start("worker")
    assert httpx.get(f"{composed.address}/models").status_code == 401  # its first key was taken
    headers = {"Authorization": f"Bearer {composed.key}"}
    with httpx.Client(base_url=composed.address, headers=headers, timeout=30) as client:
        train_and_deploy(client)
        answer_and_watch(client)
        train_while_the_store_is_away(client, composed, s3)


def train_and_deploy(client):
    said = {"Content-Type": "text/csv"}
    client.put("/data/risks", content=table().write_csv(), headers=said).raise_for_status()
    made = client.post("/models", json=TRAINING).raise_for_status().json()
    trained = wait_for_job(client, made["job_id"])
    assert trained["state"] == "done", trained
    deploy = {"version": 1, "reason": "the first one"}
    client.post(f"/models/{MODEL}/deploy", json=deploy).raise_for_status()
    wait_until(lambda: client.get("/health").json()["loaded"].get(MODEL) == 1)
    loaded = wait_until(lambda: whole(client))
    assert loaded["artifacts"] == ["onnx.fp32/cpu"]  # what serving's own libraries run


def whole(client):
    """Return what is loaded, once its last artifact has been looked at: each is taken at once."""
    (loaded,) = client.get(f"/models/{MODEL}").json()["loaded"]
    return loaded if "native.fp32/cpu" in loaded["absent"] else None


def answer_and_watch(client):
    asked = {"model": MODEL, "rows": table().drop("risk").to_dicts()}
    answer = client.post("/predict", json=asked).raise_for_status().json()
    assert answer["errors"] == {} and len(answer["predictions"]) == N_ROWS
    found = {"params": {"entry_point": "drift"}}
    (drift,) = wait_until(lambda: client.get("/jobs", **found).json()["jobs"])
    assert wait_for_job(client, drift["job_id"])["state"] == "done"
    status = client.get(f"/models/{MODEL}/status").raise_for_status().json()
    assert status["drift"]["verdict"] == "no_drift"


def train_while_the_store_is_away(client, composed, s3):
    """A run repeats its uploads until the store is back; nobody else notices.

    moto forgets everything when it stops: the first version is in serving's cache alone from then
    on, which is enough.
    """
    s3.stop()
    asked = {"model": MODEL, "rows": table().drop("risk").head(1).to_dicts()}
    made = client.post(f"/models/{MODEL}/train", json={}).raise_for_status().json()
    wait_until(lambda: " 500 " in composed.processes.said("mlflow"))
    assert client.post("/predict", json=asked).status_code == 200
    s3.start()
    composed.run("bucket")
    trained = wait_for_job(client, made["job_id"])
    assert trained["state"] == "done" and trained["attempts"] == 1, trained
