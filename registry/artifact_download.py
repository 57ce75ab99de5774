"""Download: a version's files from where MLflow keeps them.

MLflow's server hands out the files of its store (a disk, S3). It reads a whole file from S3 before
it sends a byte, so a file is waited for longer than an answer to a question
(`MLFLOW_HTTP_REQUEST_TIMEOUT`). A store that is away is an error of its own, to be tried again; a
file that is gone is not.
"""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from registry.errors import ArtifactStoreUnavailableError, MissingArtifactError
from registry.version_files import is_inside

if TYPE_CHECKING:
    from mlflow.store.artifact.http_artifact_repo import HttpArtifactRepository
    from requests import Response

FILE_TIMEOUT_SECONDS = 60.0
"""How long the first byte of a file, or the next one, may take."""
FILES_AT_ONCE = 4
CHUNK_BYTES = 1 << 20
MAX_CAUSE_CHARS = 200


def download_files(uri: str, tracking_uri: str, paths: Iterable[str], directory: Path) -> Path:
    """Download these files of an artifact folder, and return the folder they are in.

    A file that the store lacks is left out.

    Raises:
        ArtifactStoreUnavailableError: the store behind MLflow's server does not answer.
        MissingArtifactError: a name leaves the folder.
    """
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
    from mlflow.store.artifact.http_artifact_repo import HttpArtifactRepository

    repository: Any = get_artifact_repository(uri, tracking_uri=tracking_uri)
    if not isinstance(repository, HttpArtifactRepository):
        directory.mkdir(parents=True, exist_ok=True)
        return Path(repository.download_artifacts("", str(directory)))
    wanted = list(paths)
    for path in wanted:
        if not is_inside(path):
            raise MissingArtifactError(path, "a registered name leaves the version's folder")
    with ThreadPoolExecutor(FILES_AT_ONCE) as pool:
        fetched = [pool.submit(_fetch, repository, path, directory / path) for path in wanted]
    for each in fetched:
        each.result()
    return directory


def _fetch(repository: "HttpArtifactRepository", path: str, target: Path) -> None:
    """Write one file; leave it out when the store answers and lacks it."""
    from mlflow.exceptions import MlflowException
    from mlflow.utils.credentials import get_default_host_creds
    from mlflow.utils.rest_utils import http_request
    from requests.exceptions import RequestException

    creds: Any = get_default_host_creds(repository.artifact_uri)  # type: ignore[no-untyped-call]
    try:
        answer: Response = http_request(  # type: ignore[no-untyped-call]
            creds,
            f"/{path}",
            "GET",
            max_retries=0,
            timeout=FILE_TIMEOUT_SECONDS,
            raise_on_status=False,
            stream=True,
        )
        with answer:
            if answer.ok:
                _write(answer, target)
            elif _may_be_there(repository, path):
                raise ArtifactStoreUnavailableError(str(repository.tracking_uri), _cause(answer))
    except (MlflowException, RequestException) as exc:
        raise ArtifactStoreUnavailableError(str(repository.tracking_uri), _short(str(exc))) from exc


def _may_be_there(repository: "HttpArtifactRepository", path: str) -> bool:
    """Return whether the store has a file, or cannot say: the status of a lack is 500 too."""
    from mlflow.exceptions import MlflowException
    from requests.exceptions import RequestException

    folder = str(PurePosixPath(path).parent)
    asked = None if folder == "." else folder
    try:
        found = repository.list_artifacts(asked)  # type: ignore[no-untyped-call]
    except (MlflowException, RequestException):
        return True
    return any(file.path == path for file in found)


def _write(answer: "Response", target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("wb") as file:
        for chunk in answer.iter_content(CHUNK_BYTES):
            file.write(chunk)


def _cause(answer: "Response") -> str:
    """Return status and the last line of what MLflow says, which is the store's own."""
    try:
        said = str(answer.json().get("message", ""))
    except (ValueError, AttributeError):
        said = ""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return _short(": ".join([f"HTTP {answer.status_code}", *lines[-1:]]))


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= MAX_CAUSE_CHARS else f"{line[:MAX_CAUSE_CHARS]}..."
