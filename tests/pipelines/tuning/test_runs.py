"""Runs of trials: written beside the search, and what a killed worker left out afterwards."""

from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from time import sleep
from types import SimpleNamespace

import polars as pl
import pytest
from mlflow import MlflowClient
from optuna.trial import TrialState

from pipelines.tuning.page import log_page
from pipelines.tuning.runs import Parent, RunWriter, without_links, write_missing, write_run
from registry.errors import RegistryUnavailableError


@pytest.fixture
def ended(ridge_study):
    """The three trials of a study: complete, given up, failed."""
    study, plan = ridge_study([1, 2, 3])
    results = (
        (TrialState.COMPLETE, {"score": 0.5, "fold_losses": [0.25, 0.75], "z": None}, 0.5),
        (TrialState.PRUNED, {"fold_losses": [0.875]}, None),
        (TrialState.FAIL, {"reason": "ridge cannot be fitted"}, None),
    )
    return [study.end(study.take(plan, 3), *result) for result in results]


@pytest.fixture
def parent(tracking_uri):
    client = MlflowClient(tracking_uri=tracking_uri)
    experiment = client.get_experiment_by_name("tests").experiment_id
    return Parent(tracking_uri, client.create_run(experiment).info.run_id, experiment, "s")


def below(parent):
    found = parent.client().search_runs([parent.experiment_id], "tags.stage = 'trial'")
    return {int(run.data.tags["trial"]): run for run in found if run.info.status != "KILLED"}


def test_a_run_says_what_a_trial_tried_and_found(parent, ended):
    writer = RunWriter(parent)
    for trial in ended:
        writer.write(trial)
    writer.close()
    complete, pruned, failed = (below(parent)[i] for i in (1, 2, 3))
    assert complete.data.metrics == {"score": 0.5, "fold_loss": 0.75}
    history = parent.client().get_metric_history(complete.info.run_id, "fold_loss")
    assert [(metric.step, metric.value) for metric in history] == [(0, 0.25), (1, 0.75)]
    assert complete.data.params["architecture"] == "ridge" and complete.info.status == "FINISHED"
    seconds = (ended[0].datetime_complete - ended[0].datetime_start).total_seconds()
    assert complete.info.end_time - complete.info.start_time == pytest.approx(1000 * seconds, abs=1)
    assert complete.info.run_name == "trial 1"
    assert complete.data.tags["mlflow.parentRunId"] == parent.run_id
    assert pruned.data.tags["state"] == "pruned" and failed.info.status == "FAILED"
    assert failed.data.tags["reason"] == "ridge cannot be fitted"


def test_runs_that_a_killed_worker_left_out_are_written_later(parent, ended):
    client = parent.client()
    write_run(client, parent, ended[0])
    tags = {"mlflow.parentRunId": parent.run_id, "stage": "trial", "trial": "2"}
    client.create_run(parent.experiment_id, tags=tags)  # killed in the middle of writing
    assert write_missing(parent, ended) == 2
    assert sorted(below(parent)) == [1, 2, 3]
    assert write_missing(parent, ended) == 0


def test_the_run_of_a_decided_study_has_not_failed_with_the_worker_that_began_it(parent):
    parent.client().set_terminated(parent.run_id, "FAILED")  # killed, and noted by whoever ran it
    log_page(parent, "<html>", (), pl.DataFrame({"trial": [1]}), is_ours=False)
    found = parent.client().get_run(parent.run_id)
    assert (found.info.status, found.info.run_name) == ("FINISHED", "tune s")


@pytest.fixture
def slow_server():
    """A server as far away as MLflow can be: it counts requests, and answers after a while."""
    asked, at_once, most = [], [], []

    class Answer(BaseHTTPRequestHandler):
        def do_POST(self):
            at_once.append(self)
            most.append(len(at_once))
            asked.append(self.path.rpartition("/")[2])
            self.rfile.read(int(self.headers["Content-Length"]))
            sleep(0.05)
            at_once.remove(self)
            body = b'{"run": {"info": {"run_id": "r", "status": "RUNNING"}}}'
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            """Write no log."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield SimpleNamespace(uri=f"http://127.0.0.1:{server.server_port}", asked=asked, most=most)
        server.shutdown()


def test_a_run_costs_three_calls_and_no_line_and_several_are_written_at_once(
    slow_server, ended, capsys
):
    parent = Parent(slow_server.uri, "r", "0", "s")
    with without_links(), RunWriter(parent) as writer:
        for trial in 4 * ended:
            writer.write(trial)
    assert Counter(slow_server.asked) == {"create": 12, "log-batch": 12, "update": 12}
    assert max(slow_server.most) == 4
    assert capsys.readouterr().out == ""


def test_mlflow_that_is_away_stops_the_search_in_one_line(parent, ended, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    away = Parent("http://127.0.0.1:9", "r", "0", "s")
    writer = RunWriter(away)
    writer.write(ended[0])
    with pytest.raises(RegistryUnavailableError, match="127.0.0.1:9 does not answer"):
        writer.close()
    with pytest.raises(RegistryUnavailableError):
        writer.write(ended[1])
