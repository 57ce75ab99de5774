"""The run manifest: what it holds, and that it survives its JSON."""

import hashlib
import subprocess
from pathlib import Path

from pipelines.parameters import RecipeParameters, SourceParameters
from pipelines.recipes import manifest
from pipelines.recipes.manifest import Manifest, collect, git_commit, lock_digest
from registry.contract import ModelContract

ROOT = Path(__file__).resolve().parents[3]
OLD = ROOT / "tests/data/0.1.0/cache/old_trees/1-b5e19450221b"


def test_manifest_survives_its_json() -> None:
    contract = ModelContract.from_json((OLD / "contract.json").read_text())
    made = collect(SourceParameters(end="2006-12-31"), RecipeParameters(seed=5), contract)
    assert Manifest.from_json(made.to_json()) == made
    assert SourceParameters(**made.source).end == "2006-12-31"
    assert RecipeParameters(**made.recipe).seed == 5
    assert made.libraries["numpy"]
    assert made.data["sha256"] == contract.data.sha256
    assert (made.seed, made.label_spec) == (contract.seed, contract.label_spec)
    assert made.threads >= 1


def test_lock_digest_is_that_of_the_lock_file() -> None:
    expected = hashlib.sha256((ROOT / "requirements.lock").read_bytes()).hexdigest()
    assert lock_digest() == expected


def test_git_commit_is_the_head_of_the_checkout() -> None:
    head = subprocess.run(
        ["git", "-C", str(ROOT), "rev-parse", "HEAD"], capture_output=True, text=True, check=False
    )
    if head.returncode:
        assert git_commit() == "unknown"
    else:
        assert git_commit().removesuffix("-dirty") == head.stdout.strip()


def test_an_image_says_its_commit_in_a_file(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(manifest, "ROOT", tmp_path)
    (tmp_path / "GIT_COMMIT").write_text("0123abcd\n")
    assert git_commit.__wrapped__() == "0123abcd"
    (tmp_path / "GIT_COMMIT").write_text("\n")
    assert git_commit.__wrapped__() == "unknown"
