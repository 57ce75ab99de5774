import json
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import unquote, urlparse

import pytest
import sqlalchemy as sa

from registry import tables
from registry.artifacts import ArtifactCache
from registry.errors import (
    DamagedFileError,
    DigestMismatchError,
    MissingArtifactError,
    ModelNotFoundError,
    RegistryUnavailableError,
    VersionNotFoundError,
)
from registry.flavors import Artifact
from registry.version_files import CONTRACT_FILE, digest_directory

MODEL = "volatility_forecast"
DEAD = "http://127.0.0.1:1"
ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-4, "abc"


# Without MLflow ----------------------------------------------------------------------------------


def test_last_known_aliases_are_what_was_remembered(settings, engine):
    cache = ArtifactCache(settings, engine)
    assert cache.last_known_aliases() == {}
    cache.remember_aliases({MODEL: {"production": 2, "staging": 3}})
    cache.remember_aliases({MODEL: {"production": 3}})
    assert ArtifactCache(settings, engine).last_known_aliases() == {MODEL: {"production": 3}}


def test_a_damaged_alias_file_is_one_clear_error(settings, engine):
    cache = ArtifactCache(settings, engine)
    cache.remember_aliases({})
    (settings.cache_dir / "aliases.json").write_text("{")
    with pytest.raises(DamagedFileError, match=r"aliases\.json cannot be read"):
        cache.last_known_aliases()


def test_versions_that_were_never_registered_are_named_errors(settings, engine):
    with pytest.raises(ModelNotFoundError, match="registered: none"):
        ArtifactCache(settings, engine).fetch(MODEL, 1)


# With MLflow -------------------------------------------------------------------------------------


@pytest.fixture
def version(register):
    return register()


@pytest.fixture
def cache(settings, engine, tracking_uri, version):
    return ArtifactCache(settings.model_copy(update={"mlflow_tracking_uri": tracking_uri}), engine)


@pytest.fixture
def offline(settings, engine, version, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "2")
    return ArtifactCache(settings.model_copy(update={"mlflow_tracking_uri": DEAD}), engine)


def stored_file(tracking_uri, path):
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=tracking_uri, registry_uri=tracking_uri)
    uri = client.get_model_version_download_uri(MODEL, "1")
    return Path(unquote(urlparse(uri).path)) / path


@pytest.mark.integration
def test_a_fetched_version_is_what_was_registered(cache, version):
    files = cache.fetch(MODEL, 1)
    assert files.digests == version.digests
    assert files.contract == version.contract
    assert files.record == version.record
    assert files.decoder.facts == {"kind": "identity"}
    assert files.artifacts() == {
        Artifact("native"): ("native/model.ubj",),
        Artifact("onnx"): ("onnx/model.onnx",),
    }
    assert files.read("onnx/model.onnx") == b"an onnx file"
    assert digest_directory(files.directory) == version.digests


@pytest.mark.integration
def test_some_files_are_read_without_fetching_the_others(cache, version, tracking_uri):
    wanted = (CONTRACT_FILE, "decoder.json", "no_such_file.npz")
    with cache.some_files(MODEL, 1, wanted) as files:
        assert set(files.digests) == {CONTRACT_FILE, "decoder.json"}
        assert files.contract == version.contract
        with pytest.raises(MissingArtifactError):
            files.read("onnx/model.onnx")
    whole = cache.fetch(MODEL, 1)
    with cache.some_files(MODEL, 1, wanted) as files:
        assert files.directory == whole.directory  # the copy that is here
    (whole.directory / CONTRACT_FILE).write_text("{}")
    with cache.some_files(MODEL, 1, wanted) as files:
        assert files.contract == version.contract
    stored_file(tracking_uri, CONTRACT_FILE).write_text("{}")
    with cache.some_files(MODEL, 1, wanted) as files, pytest.raises(DigestMismatchError):
        _ = files.contract


@pytest.mark.integration
def test_a_file_that_changed_between_reading_and_storing_is_never_fetched(
    registry, contract, record, run_id, version_folder, settings, engine, tracking_uri
):
    digests = digest_directory(version_folder)
    (version_folder / "onnx" / "model.onnx").write_bytes(b"another file")
    registry.register(version_folder, contract, record, run_id, digests=digests)
    reached = settings.model_copy(update={"mlflow_tracking_uri": tracking_uri})
    with pytest.raises(DigestMismatchError, match=r"onnx/model\.onnx"):
        ArtifactCache(reached, engine).fetch(MODEL, 1)


@pytest.mark.integration
def test_a_version_that_the_model_does_not_have_is_named(cache):
    with pytest.raises(VersionNotFoundError, match="has no version 7; it has: 1"):
        cache.fetch(MODEL, 7)


@pytest.mark.integration
def test_a_cached_version_needs_no_mlflow(cache, offline):
    first = cache.fetch(MODEL, 1)
    assert offline.fetch(MODEL, 1) == first


@pytest.mark.integration
def test_a_version_that_is_not_cached_needs_mlflow(offline):
    with pytest.raises(RegistryUnavailableError, match="does not answer"):
        offline.fetch(MODEL, 1)


@pytest.mark.integration
@pytest.mark.parametrize("damage", ["changed", "gone"])
def test_a_damaged_cached_file_is_downloaded_again(cache, damage, caplog):
    path = cache.fetch(MODEL, 1).directory / "onnx" / "model.onnx"
    path.write_bytes(b"rotten") if damage == "changed" else path.unlink()
    assert cache.fetch(MODEL, 1).read("onnx/model.onnx") == b"an onnx file"
    assert "downloaded again" in caplog.text


@pytest.mark.integration
def test_a_damaged_cached_file_is_never_served_while_mlflow_is_down(cache, offline):
    path = cache.fetch(MODEL, 1).directory / "onnx" / "model.onnx"
    path.write_bytes(b"rotten")
    with pytest.raises(RegistryUnavailableError):
        offline.fetch(MODEL, 1)


@pytest.mark.integration
def test_a_file_changed_in_mlflows_storage_is_refused(cache, settings, tracking_uri):
    stored_file(tracking_uri, "onnx/model.onnx").write_bytes(b"poisoned")
    with pytest.raises(DigestMismatchError, match=r"onnx/model\.onnx"):
        cache.fetch(MODEL, 1)
    assert not list(settings.cache_dir.rglob("model.onnx"))


@pytest.mark.integration
def test_a_file_missing_from_mlflows_storage_is_refused(cache, tracking_uri):
    stored_file(tracking_uri, CONTRACT_FILE).unlink()
    with pytest.raises(MissingArtifactError, match=r"contract\.json"):
        cache.fetch(MODEL, 1)


@pytest.mark.integration
def test_storage_that_vanished_is_one_clear_error(cache, tracking_uri):
    shutil.rmtree(stored_file(tracking_uri, "."))
    with pytest.raises(MissingArtifactError):
        cache.fetch(MODEL, 1)


@pytest.mark.integration
def test_files_that_were_not_registered_are_not_copied(cache, tracking_uri):
    stored_file(tracking_uri, "evil.py").write_text("print('hello')")
    assert not (cache.fetch(MODEL, 1).directory / "evil.py").exists()


@pytest.mark.integration
def test_a_registered_name_that_leaves_the_folder_downloads_nothing(cache, engine, settings):
    with engine.begin() as connection:
        connection.execute(sa.update(tables.versions).values(digests={"../../evil": ABC}))
    with pytest.raises(MissingArtifactError):
        cache.fetch(MODEL, 1)
    assert not list(settings.data_dir.rglob("evil"))


@pytest.mark.integration
def test_several_threads_fetch_one_good_copy(cache, settings):
    with ThreadPoolExecutor(4) as pool:
        fetched = list(pool.map(lambda _: cache.fetch(MODEL, 1), range(4)))
    assert len({f.directory for f in fetched}) == 1
    assert fetched[0].read("onnx/model.onnx") == b"an onnx file"
    assert not list(settings.cache_dir.rglob(".download-*"))


FETCH = (
    "import sys; from pathlib import Path; from registry.artifacts import ArtifactCache; "
    "from registry.database import open_engine; from registry.settings import PlatformSettings; "
    "s = PlatformSettings(data_dir=Path(sys.argv[1]), mlflow_tracking_uri=sys.argv[2]); "
    "print(ArtifactCache(s, open_engine(s)).fetch('volatility_forecast', 1).directory)"
)


@pytest.mark.slow
def test_two_processes_fetch_one_good_copy(cache, settings, tracking_uri):
    command = [sys.executable, "-c", FETCH, str(settings.data_dir), tracking_uri]
    started = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    found = {process.communicate(timeout=120)[0].strip() for process in started}
    assert found == {str(cache.fetch(MODEL, 1).directory)}


@pytest.mark.integration
def test_the_record_beside_the_files_is_plain_json(cache):
    rows = json.loads(cache.fetch(MODEL, 1).read("validation.json"))
    assert {"gate": "data.checks", "passed": True}.items() <= rows[0].items()
