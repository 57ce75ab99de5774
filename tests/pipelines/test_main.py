"""Stage main: what a version made end to end says about itself, in MLflow and in the registry.

No test expects a promotion: whether the market of the tests is forecast well enough is read from
the record, and the outcome must follow from it.
"""

import hashlib
import json
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pipelines.data.features import FEATURE_SETS, fingerprint
from pipelines.data.sources import SOURCES, BarQuery
from registry.gates import COMMON, GATES, refusals
from registry.settings import PlatformSettings
from registry.versions import Registry

pytestmark = pytest.mark.integration
ROOT = Path(__file__).resolve().parents[2]
TEMPLATES = ("volatility_forecast", "trading_signals")
PICTURES = {
    "volatility_forecast": {"loss_per_year", "over_time", "coverage"},
    "trading_signals": {"equity", "reliability"},
}


@pytest.fixture(params=TEMPLATES)
def template(request):
    return request.param


@pytest.fixture
def registry(made, made_engine):
    return Registry(made.settings, made_engine)


@pytest.fixture
def version(registry, template):
    return registry.get(template, 1)


@pytest.fixture
def client(made):
    from mlflow import MlflowClient

    return MlflowClient()


@pytest.fixture
def children(client, version):
    """Stage -> its run below the run of main."""
    driver = client.get_run(version.run_id)
    query = f"tags.mlflow.parentRunId = '{version.run_id}'"
    found = client.search_runs([driver.info.experiment_id], query)
    return {run.data.tags["stage"]: run for run in found}


def names_of(client, run) -> set[str]:
    return {Path(f.path).stem for f in client.list_artifacts(run.info.run_id, "pictures")}


def test_the_version_waits_at_alias_staging(registry, version, template):
    assert registry.aliases(template)["staging"] == version.number


def test_it_is_in_production_exactly_when_no_gate_refuses(registry, version, template, made):
    is_open = refusals(version.record, "serve", template) == ()
    assert ("production" in registry.aliases(template)) == is_open
    said = made.said["main" if template == "volatility_forecast" else "signals"]
    assert said.splitlines()[-1].endswith(": production") == is_open
    assert f"serve lock: {'open' if is_open else 'shut'}" in said


def test_the_contract_says_what_the_version_was_made_from(version, template):
    contract, feature_set = version.contract, FEATURE_SETS.get("close_only")
    end = datetime(2003, 12, 31, tzinfo=UTC)
    bars = SOURCES.get("synthetic").read(BarQuery(symbols=("AAA", "BBB"), end=end, seed=3))
    assert (contract.template, contract.architecture) == (template, "xgboost")
    assert contract.feature_set == feature_set.name
    assert contract.feature_names == feature_set.feature_names
    assert contract.feature_fingerprint == fingerprint(feature_set)
    assert contract.inputs.shape == (None, len(feature_set.feature_names))
    assert contract.outputs.shape == (None, 1 if template == "volatility_forecast" else 3)
    assert (contract.window, contract.min_history) == (1, feature_set.min_history)
    assert contract.horizon == f"{contract.horizon_bars}d"
    assert contract.symbols == ("AAA", "BBB")
    assert contract.data.sha256 == bars.digest()
    assert contract.data.n_bars == len(bars.frame)
    assert contract.data.start == "2000-01-03T00:00:00+00:00"
    assert contract.data.end == contract.trained_until == "2003-12-31T00:00:00+00:00"
    assert (contract.parameters["rounds"], contract.seed) == (20, 3)


def test_the_contract_names_the_commit_and_the_locked_libraries(version):
    lock = (ROOT / "requirements.lock").read_bytes()
    commit = version.contract.git_commit.removesuffix("-dirty")
    subprocess.run(["git", "merge-base", "--is-ancestor", commit, "HEAD"], cwd=ROOT, check=True)
    assert version.contract.lock_sha256 == hashlib.sha256(lock).hexdigest()


def test_the_record_holds_every_gate_that_the_locks_need(version, template):
    needed = (*COMMON.serve, *GATES.get(template).serve, *GATES.get(template).trade)
    recorded = [row.gate for row in version.record]
    assert {requirement.gate for requirement in needed} <= set(recorded)
    assert len(recorded) == len(set(recorded))


def test_digests_cover_every_file_that_mlflow_gives_out(version, template, tmp_path):
    import mlflow

    folder = mlflow.artifacts.download_artifacts(f"models:/{template}/1", dst_path=str(tmp_path))
    files = [p for p in Path(folder).rglob("*") if p.is_file()]
    found = {
        p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files
    }
    written = {k: v for k, v in found.items() if k != "registered_model_meta"}
    assert written == dict(version.digests)


def test_the_stages_are_runs_below_one_run_and_all_finished(client, version, children):
    assert set(children) == {"train", "validate", "convert"}
    assert client.get_run(version.run_id).data.tags["stage"] == "main"
    assert {run.info.status for run in children.values()} == {"FINISHED"}
    assert children["validate"].data.tags["train_run_id"] == children["train"].info.run_id


def test_the_runs_keep_the_parameters(client, version, children, template):
    parameters = client.get_run(version.run_id).data.params
    assert (parameters["template"], parameters["source"]) == (template, "synthetic")
    assert (parameters["seed"], parameters["promote"]) == ("3", "True")
    assert json.loads(parameters["parameters"])["rounds"] == 20
    assert children["train"].data.params["symbols"] == "AAA,BBB"
    assert children["validate"].data.params["challenge_bars"] == "126"


def test_the_train_run_is_tagged_with_where_it_came_from(version, children):
    tags, contract = children["train"].data.tags, version.contract
    assert tags["data_sha256"] == contract.data.sha256
    assert tags["data_span"] == "2000-01-03 to 2003-12-31" == contract.data.span
    assert tags["feature_fingerprint"] == contract.feature_fingerprint
    assert tags["git_commit"] == contract.git_commit
    assert tags["lock_sha256"] == contract.lock_sha256
    assert tags["trained_until"] == contract.data.shown(contract.trained_until)


def test_the_run_of_main_names_its_version_and_what_became_of_it(client, version, made):
    tags = client.get_run(version.run_id).data.tags
    assert tags["version"] == str(version.number)
    said = made.said["main" if version.model_id == "volatility_forecast" else "signals"]
    assert said.splitlines()[-1] == f"{version.model_id} version 1: {tags['outcome']}"


def test_metrics_are_the_values_that_the_gates_judge(client, version, children):
    found = client.get_run(version.run_id).data.metrics
    assert found["main_seconds"] > 0
    rows = {row.gate: row.value for row in version.record}
    metric, gate = {
        "volatility_forecast": ("loss_vs_ewma", "quality.qlike_vs_ewma"),
        "trading_signals": ("net_sharpe_2x", "edge.net_sharpe_2x"),
    }[version.model_id]
    assert found[metric] == children["validate"].data.metrics[metric] == rows[gate]
    assert children["convert"].data.metrics["parity.onnx.fp32"] == rows["parity.onnx.fp32"]
    assert children["convert"].data.metrics["latency_ms.onnx.fp32.cpu.1"] > 0


def test_pictures_show_the_fit_and_the_judgement(client, children, template):
    assert names_of(client, children["train"]) == {"folds", "importance"}
    assert names_of(client, children["validate"]) >= {"gates"} | PICTURES[template]


def test_the_report_is_in_the_runs_of_validate_and_main(client, version, children):
    import mlflow

    for run_id in (version.run_id, children["validate"].info.run_id):
        assert "report.html" in {f.path for f in client.list_artifacts(run_id)}
    page = mlflow.artifacts.load_text(f"runs:/{version.run_id}/report.html")
    assert f"<small>version {version.number}</small>" in page
    assert [row.gate for row in version.record if f">{row.gate}</td>" not in page] == []


def test_the_command_prints_every_gate_with_its_verdict(version, made):
    said = made.said["main" if version.model_id == "volatility_forecast" else "signals"]
    for row in version.record:
        assert f"  {row.judged()}\n" in said


@pytest.mark.slow
@pytest.mark.parametrize("template", TEMPLATES)
def test_a_network_goes_the_same_way(template, installation: PlatformSettings):
    from pipelines import main
    from registry.database import open_engine

    line = ["--source", "synthetic", "--symbols", "AAA,BBB", "--end", "2003-12-31"]
    fit = '{"epochs": 1, "hidden": 4, "batch_size": 256}'
    network = ["--architecture", "lstm", "--parameters", fit, "--window", "4"]
    main.main([*line, "--template", template, *network, "--promote", "true"])
    engine = open_engine(installation)
    registry = Registry(installation, engine)
    version = registry.get(template, 1)
    assert version.contract.inputs.shape == (None, 4, len(version.contract.feature_names))
    assert version.contract.native_format == "torch-export"
    needed = (*COMMON.serve, *GATES.get(template).serve)
    assert {n.gate for n in needed} <= {row.gate for row in version.record}
    is_open = refusals(version.record, "serve", template) == ()
    assert ("production" in registry.aliases(template)) == is_open
    engine.dispose()
