"""MLflow's side of a version: logged model, registered version, tags, aliases, files.

The only module that imports MLflow for the registry (inside functions: the import takes seconds
and serving starts without it). Everything goes through a client bound to one address, so nothing
depends on MLflow's process-wide state, except that MLflow's own SQLite store looks logged models
up at MLFLOW_TRACKING_URI; `log_version` therefore refuses another address there.

A call that gets no answer is a `RegistryUnavailableError`. How long that takes is MLflow's
setting: a process that serves sets MLFLOW_HTTP_REQUEST_MAX_RETRIES=0 and
MLFLOW_HTTP_REQUEST_TIMEOUT=2 in its main; a stage that uploads keeps MLflow's patient defaults.
"""

import json
import platform
import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from registry import mlflow_mark
from registry.artifact_download import download_files
from registry.contract import ModelContract
from registry.errors import (
    ArtifactStoreUnavailableError,
    ForeignTrackingError,
    MissingArtifactError,
    RunNotFoundError,
)
from registry.flavors.native import NATIVE
from registry.gates import Record
from registry.mlflow_failures import answering
from registry.mlflow_flavors import listed, loader_requirements, pinned
from registry.tracking_server import check_reachable
from registry.version_card import describe_model, model_parameters
from registry.version_files import CONTRACT_FILE, RECORD_FILE, artifacts, digest_files

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.models.signature import ModelSignature

LOADER_MODULE = "pipelines.pyfunc"
REQUIREMENTS = ("mlflow-skinny", "numpy", "polars", "pandas", "onnxruntime", "pydantic-settings")
"""Packages that the pyfunc loader needs beside this repository; pinned as installed."""
NATIVE_REQUIREMENTS = {"arrays": ("safetensors",)}
"""Packages that it also needs for a version that has only its native file, beside those that
MLflow's own loader of that format needs (`registry.mlflow_flavors`)."""

PACKAGED_FILES = (
    *(CONTRACT_FILE, RECORD_FILE, "MLmodel"),
    *("requirements.txt", "python_env.yaml", "conda.yaml"),
)
"""Files that are written for MLflow beside those of the version."""
MODELS_PER_CALL = 1000
VERSIONS_PER_CALL = 10_000
"""The most that MLflow gives in one answer."""
DESCRIPTION_TAG = "mlflow.note.content"
"""The tag that MLflow's UI shows as the description of a logged model."""


@dataclass(frozen=True, slots=True)
class VersionContent:
    """The content of a version before it is stored.

    `directory` holds its files, `digests` say what was read in them: relative path -> SHA-256.
    Contract and record are written from these values into a copy.
    `run_id` is the run that made it; `context_names` are further columns, known at prediction
    time, that the pyfunc loader passes to the template beside the features.
    """

    directory: Path
    digests: Mapping[str, str]
    contract: ModelContract
    record: Record
    run_id: str
    context_names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RegisteredModel:
    """A registered model in MLflow: when it was created, and version number -> run.

    `runs` are the newest `VERSIONS_PER_CALL` versions.
    """

    created_at: datetime
    runs: Mapping[int, str]


@dataclass(frozen=True, slots=True)
class StoredVersion:
    """A version as MLflow holds it: its number and the SHA-256 of every file."""

    number: int
    digests: Mapping[str, str]


class ModelStore:
    """The MLflow at one address: an HTTP server, or a database URI in tests."""

    def __init__(self, uri: str) -> None:
        self.uri = uri

    @property
    def shown_uri(self) -> str:
        """The address without a password."""
        return re.sub(r"://[^@/]*@", "://***@", self.uri)

    @cached_property
    def _client(self) -> "MlflowClient":
        from mlflow import MlflowClient

        with self._answering():
            return MlflowClient(tracking_uri=self.uri, registry_uri=self.uri)

    def log_version(
        self, content: "VersionContent", tags: Mapping[str, str], description: str
    ) -> StoredVersion:
        """Log one MLflow model with all files and register it as a new version.

        The directory is not changed. One `MLmodel` names every flavor and the pyfunc loader.

        Raises:
            ForeignTrackingError: MLFLOW_TRACKING_URI is another address.
            RunNotFoundError: MLflow has no such run.
            RegistryUnavailableError: no answer.
            ArtifactStoreUnavailableError: the store behind MLflow takes no file.
        """
        import mlflow
        from mlflow.entities import LoggedModelOutput

        if (active := mlflow.get_tracking_uri()).rstrip("/") != self.uri.rstrip("/"):
            raise ForeignTrackingError(active, self.uri)
        client, name, run_id = self._client, content.contract.model_id, content.run_id
        with self._answering(), TemporaryDirectory() as folder:
            experiment = self._experiment_of(run_id)
            logged = client.create_logged_model(
                experiment,
                name,
                run_id,
                {**tags, DESCRIPTION_TAG: description},
                model_parameters(content.contract),
            )
            staged = Path(shutil.copytree(content.directory, Path(folder) / "model"))
            _package(staged, content, logged.model_id)
            client.log_model_artifacts(logged.model_id, str(staged))
            client.finalize_logged_model(logged.model_id, "READY")
            client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, 0)])
            self._ensure_registered_model(content.contract)
            source = f"models:/{logged.model_id}"
            made = client.create_model_version(
                name, source, run_id, dict(tags), None, description, model_id=logged.model_id
            )
            written = digest_files(staged, PACKAGED_FILES)
            return StoredVersion(int(made.version), {**content.digests, **written})

    def aliases(self, model_id: str) -> dict[str, int]:
        """Return alias -> version number as MLflow has them; empty for an unknown model."""
        with self._answering():
            found = self._unless_absent(self._client.get_registered_model, model_id)
        return {} if found is None else {a: int(n) for a, n in found.aliases.items()}

    def all_aliases(self) -> dict[str, dict[str, int]]:
        """Return model -> alias -> version number of every model, in one look.

        One call for every `MODELS_PER_CALL` models. Models that come or go between two calls may
        be missing.
        """
        found: dict[str, dict[str, int]] = {}
        token = None
        with self._answering():
            while True:
                page = self._client.search_registered_models(
                    max_results=MODELS_PER_CALL, page_token=token
                )
                found |= {m.name: {a: int(n) for a, n in m.aliases.items()} for m in page}
                token = page.token
                if not token:
                    return found

    def find_run(self, model_id: str, number: int) -> str | None:
        """Return the run that made a version by MLflow's word; None where it has no such version.

        Somebody may have deleted it there, or given its number again.
        """
        with self._answering():
            found = self._unless_absent(self._client.get_model_version, model_id, str(number))
        return None if found is None else str(found.run_id)

    def find_model(self, model_id: str) -> RegisteredModel | None:
        """Return what MLflow holds of a registered model, None where it has none of this name."""
        with self._answering():
            found = self._unless_absent(self._client.get_registered_model, model_id)
            if found is None:
                return None
            wanted = f"name = '{model_id}'"
            listed = self._client.search_model_versions(wanted, max_results=VERSIONS_PER_CALL)
        made = datetime.fromtimestamp(found.creation_timestamp / 1000, UTC)
        return RegisteredModel(made, {int(v.version): str(v.run_id) for v in listed})

    def mark(self) -> str | None:
        """Return the identity of the engine database that this MLflow belongs to, if it has one."""
        with self._answering():
            return mlflow_mark.read(self._client)

    def set_mark(self, identity: str, *, replace: bool = False) -> str | None:
        """Write an identity, unless there is one that is not to be replaced; return what is there.

        Raises:
            RegistryUnavailableError: no answer.
        """
        with self._answering():
            return mlflow_mark.write(self._client, identity, replace=replace)

    def set_alias(self, model_id: str, alias: str, number: int) -> None:
        """Point the alias at a version."""
        with self._answering():
            self._client.set_registered_model_alias(model_id, alias, str(number))

    def delete_alias(self, model_id: str, alias: str) -> None:
        """Take an alias away; one that is gone already is fine."""
        with self._answering():
            self._unless_absent(self._client.delete_registered_model_alias, model_id, alias)

    def tag(self, model_id: str, number: int, name: str, value: str) -> None:
        """Set a tag of a version."""
        with self._answering():
            self._client.set_model_version_tag(model_id, str(number), name, value)

    def delete_version(self, model_id: str, number: int) -> None:
        """Delete a registered version; one that is gone already is fine."""
        with self._answering():
            self._unless_absent(self._client.delete_model_version, model_id, str(number))

    def download(self, model_id: str, number: int, directory: Path, paths: Iterable[str]) -> Path:
        """Download files of a version below a directory; return the folder they are in.

        Raises:
            MissingArtifactError: MLflow has no such version, or its storage cannot be read.
            ArtifactStoreUnavailableError: the storage behind MLflow's server does not answer.
            RegistryUnavailableError: no answer.
        """
        from mlflow.exceptions import MlflowException

        self.probe()  # MLflow itself retries for minutes
        which = f"{model_id}/{number}"
        with self._answering():
            uri = self._unless_absent(
                self._client.get_model_version_download_uri, model_id, str(number)
            )
        if uri is None:
            raise MissingArtifactError(which, f"MLflow at {self.uri} does not have this version")
        try:
            return download_files(uri, self.uri, paths, directory)
        except ArtifactStoreUnavailableError:
            self.probe()
            raise
        except (MlflowException, OSError) as exc:
            self.probe()
            first_line = str(exc).strip().splitlines()[0]
            raise MissingArtifactError(which, f"its files cannot be read: {first_line}") from exc

    def probe(self) -> None:
        """Ask an HTTP server whether it is there, within two seconds whatever MLflow's settings.

        Raises:
            RegistryUnavailableError: no answer.
        """
        check_reachable(self.uri)

    def _experiment_of(self, run_id: str) -> str:
        run = self._unless_absent(self._client.get_run, run_id)
        if run is None:
            raise RunNotFoundError(run_id, f"entry in MLflow at {self.uri}")
        return str(run.info.experiment_id)

    def _ensure_registered_model(self, contract: ModelContract) -> None:
        from mlflow.exceptions import MlflowException

        try:
            self._client.create_registered_model(
                contract.model_id, description=describe_model(contract)
            )
        except MlflowException as exc:
            if exc.error_code != "RESOURCE_ALREADY_EXISTS":
                raise

    def _unless_absent(self, call: Any, *arguments: str) -> Any:
        """Return the result of the call, None when MLflow says that the thing does not exist."""
        from mlflow.exceptions import MlflowException

        try:
            return call(*arguments)
        except MlflowException as exc:
            if exc.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return None

    def _answering(self) -> AbstractContextManager[None]:
        return answering(self.uri)


def _package(directory: Path, content: VersionContent, logged_model_id: str) -> None:
    """Write `PACKAGED_FILES`: contract, record, `MLmodel` and the environment of MLflow's tools."""
    from mlflow.models import Model

    contract = content.contract
    (directory / CONTRACT_FILE).write_text(contract.to_json())
    rows = [row.to_json() for row in content.record]
    (directory / RECORD_FILE).write_text(json.dumps(rows, indent=2))
    carried = artifacts(content.digests)
    packages = [pinned(name) for name in REQUIREMENTS]
    if set(carried) == {NATIVE}:
        packages += [pinned(name) for name in NATIVE_REQUIREMENTS.get(contract.native_format, ())]
    packages += loader_requirements(carried, contract.native_format)
    _write_environment(directory, list(dict.fromkeys(packages)))
    model = Model(
        run_id=content.run_id,
        model_uuid=logged_model_id,
        model_id=logged_model_id,
        signature=_signature(contract, content.context_names),
        metadata={"template": contract.template, "feature_set": contract.feature_set},
    )
    for name, keys in listed(carried, contract.native_format):
        model.add_flavor(name, **keys)
    model.add_flavor(  # what `mlflow.pyfunc.add_to_model` writes, without its slow import
        "python_function",
        loader_module=LOADER_MODULE,
        python_version=platform.python_version(),
        env={"conda": "conda.yaml", "virtualenv": "python_env.yaml"},
    )
    model.save(str(directory / "MLmodel"))


def _signature(contract: ModelContract, context_names: Sequence[str]) -> "ModelSignature":
    """Name the inputs: one column per feature, or one tensor when the model sees a window."""
    import numpy as np
    from mlflow.models.signature import ModelSignature
    from mlflow.types.schema import ColSpec, Schema, TensorSpec

    if contract.window > 1:
        shape = tuple(-1 if size is None else size for size in contract.inputs.shape)
        return ModelSignature(Schema([TensorSpec(np.dtype("float32"), shape)]))
    features = [ColSpec("double", name) for name in contract.feature_names]
    context = [ColSpec("double", name, required=False) for name in context_names]
    return ModelSignature(Schema([*features, *context]))


def _write_environment(directory: Path, packages: Sequence[str]) -> None:
    python = platform.python_version()
    (directory / "requirements.txt").write_text("\n".join(packages) + "\n")
    (directory / "python_env.yaml").write_text(
        f"python: {python}\nbuild_dependencies: [pip]\ndependencies: [-r requirements.txt]\n"
    )
    (directory / "conda.yaml").write_text(
        f"name: mlflow-env\nchannels: [conda-forge]\ndependencies:\n- python={python}\n- pip\n"
        "- pip:\n" + "".join(f"  - {line}\n" for line in packages)
    )
