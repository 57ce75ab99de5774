import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch

from pipelines.architectures.torch_nets import checkpoints
from pipelines.architectures.torch_nets.checkpoints import Checkpoint

CPU = torch.device("cpu")
SAVED = Checkpoint(
    fingerprint="abc",
    epoch=2,
    batch_size=64,
    best_loss=0.5,
    stale=1,
    history=[{"train_loss": 1.0, "validation_loss": 0.5}],
    weights={"w": torch.arange(3.0)},
    best_weights={"w": torch.ones(3)},
    optimizer={"state": {0: {"step": torch.tensor(2.0)}}, "param_groups": [{"lr": 0.1}]},
)


def test_what_is_saved_is_loaded(tmp_path):
    checkpoints.save(tmp_path / "c.pt", SAVED)
    found = checkpoints.load(tmp_path / "c.pt", "abc", CPU)
    assert torch.equal(found.weights["w"], SAVED.weights["w"])
    assert replace(found, weights={}, best_weights={}, optimizer={}) == replace(
        SAVED, weights={}, best_weights={}, optimizer={}
    )
    assert found.optimizer["state"][0]["step"] == 2.0


def test_no_file_is_no_checkpoint_and_no_reason(tmp_path):
    assert checkpoints.load(tmp_path / "none.pt", "abc", CPU) == ""


def test_a_checkpoint_of_another_fit_is_told_apart(tmp_path):
    checkpoints.save(tmp_path / "c.pt", SAVED)
    assert "belongs to a fit on other rows" in checkpoints.load(tmp_path / "c.pt", "other", CPU)


@pytest.mark.parametrize("content", [b"", b"no torch file", pickle.dumps({"epoch": 1})])
def test_a_file_that_is_no_checkpoint_is_said_to_be_none(tmp_path, content):
    (tmp_path / "c.pt").write_bytes(content)
    assert "c.pt" in checkpoints.load(tmp_path / "c.pt", "abc", CPU)


def test_a_program_in_place_of_a_checkpoint_is_not_run(tmp_path):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "sprung"), "w"))

    torch.save({"epoch": Trap()}, tmp_path / "c.pt")
    assert "cannot be read" in checkpoints.load(tmp_path / "c.pt", "abc", CPU)
    assert not (tmp_path / "sprung").exists()


def test_a_failed_save_leaves_the_old_file_and_nothing_else(tmp_path):
    checkpoints.save(tmp_path / "c.pt", SAVED)
    with pytest.raises((AttributeError, TypeError, pickle.PicklingError)):
        checkpoints.save(tmp_path / "c.pt", replace(SAVED, optimizer={"bad": lambda: 0}))
    assert [p.name for p in tmp_path.iterdir()] == ["c.pt"]
    assert checkpoints.load(tmp_path / "c.pt", "abc", CPU).epoch == 2


def test_the_fingerprint_changes_with_every_fact_array_and_weight():
    rows, weights = np.arange(6.0), {"w": torch.zeros(2)}
    marks = {
        checkpoints.fingerprint(("a", 1), (rows,), weights),
        checkpoints.fingerprint(("a", 2), (rows,), weights),
        checkpoints.fingerprint(("a", 1), (rows + 1,), weights),
        checkpoints.fingerprint(("a", 1), (rows.reshape(2, 3),), weights),
        checkpoints.fingerprint(("a", 1), (rows,), {"w": torch.ones(2)}),
    }
    assert len(marks) == 5
    assert checkpoints.fingerprint(("a", 1), (rows.copy(),), weights) in marks
