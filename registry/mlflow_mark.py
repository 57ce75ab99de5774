"""The mark of an engine database in MLflow: a tag of an experiment that holds nothing else.

The name of an experiment is unique, whether it is deleted or not, so of two processes that mark an
MLflow at once one does it, and the other finds it done.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlflow import MlflowClient

NAME = "nautilus-ml-engine"
IDENTITY = "engine_identity"
NOTE = "mlflow.note.content"
ABOUT = (
    "Holds no runs. Its tag `engine_identity` says which engine database belongs to this MLflow; "
    "without it nothing trains or serves. After a backup was restored: `python -m registry pair`."
)


def read(client: "MlflowClient") -> str | None:
    """Return the identity in this MLflow, None where it has none."""
    found = client.get_experiment_by_name(NAME)
    return None if found is None else found.tags.get(IDENTITY) or None


def write(client: "MlflowClient", identity: str, *, replace: bool) -> str | None:
    """Write an identity, unless there is one that is not to be replaced; return what is there."""
    from mlflow.exceptions import MlflowException

    try:
        client.create_experiment(NAME, tags={IDENTITY: identity, NOTE: ABOUT})
    except MlflowException as exc:
        if exc.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
        found = client.get_experiment_by_name(NAME)
        assert found is not None
        if replace or not found.tags.get(IDENTITY):
            if found.lifecycle_stage == "deleted":
                client.restore_experiment(found.experiment_id)
            client.set_experiment_tag(found.experiment_id, IDENTITY, identity)
    return read(client)
