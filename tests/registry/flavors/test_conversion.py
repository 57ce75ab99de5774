"""Artifacts written in a child process: a converter that misbehaves costs one artifact."""

import os
import re

import pytest

from registry.errors import UnsupportedModelError
from registry.flavors import FLAVORS, Artifact, NativeModel, conversion
from registry.flavors.conversion import Conversion
from tests.examples import make_contract

pytestmark = pytest.mark.integration  # starts processes

FLAVOR = """
import os, signal, sys, time
from registry.errors import UnsupportedModelError

class Misbehaving:
    name, libraries, variants, compressions = "misbehaving", ("misbehaving",), ("fp32",), ()

    def unavailable_reason(self):
        return None

    def write(self, native, contract, variant="fp32"):
        if variant == "crashes":
            os.kill(os.getpid(), signal.SIGSEGV)
        if variant == "exits":
            os.write(2, b"no licence for this processor\\n")
            os._exit(3)
        if variant == "fails":
            raise RuntimeError("cannot lower aten::poem\\nat line 3")
        if variant == "refuses":
            raise UnsupportedModelError(self.name, native.format, "its splits are poems")
        if variant == "hangs":
            time.sleep(60)
        if variant == "prints":
            print('{"files": []}', flush=True)
            os.write(1, b"50 %")
        if variant == "leaves":
            return {"../stolen/model.txt": b""}
        if variant == "strays":
            return {"native/model.txt": b""}
        content = f"{native.payload.decode()} {contract.model_id} {os.getpid()}"
        return {f"{self.name}/{variant}/model.txt": content.encode()}

FLAVOR = Misbehaving()
"""
NATIVE = NativeModel("arrays", b"weights")


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Write a variant of a flavor that another distribution brings."""
    (tmp_path / "misbehaving.py").write_text(FLAVOR)
    metadata = tmp_path / "misbehaving-1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: misbehaving\nVersion: 1\n")
    entry = "[nautilus_ml_engine.flavor]\nmisbehaving = misbehaving:FLAVOR\n"
    (metadata / "entry_points.txt").write_text(entry)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(FLAVORS, "_imports", {"misbehaving": "misbehaving:FLAVOR"})
    monkeypatch.setattr(FLAVORS, "_resolved", {})
    opened = Conversion()
    yield lambda variant: opened.write(Artifact("misbehaving", variant), NATIVE, make_contract())
    opened.close()


def content_of(files) -> tuple[str, str, int]:
    (content,) = files.values()
    payload, model_id, process = content.decode().split()
    return payload, model_id, int(process)


def test_one_child_writes_one_artifact_after_another(write):
    first, second = content_of(write("a")), content_of(write("b"))
    assert first == second
    assert first[:2] == ("weights", make_contract().model_id)
    assert first[2] != os.getpid()


@pytest.mark.parametrize(
    ("variant", "reason", "survives"),
    [
        ("crashes", r"its converter crashed \(SIGSEGV\)", False),
        ("exits", "its converter ended with status 3: no licence for this processor", False),
        ("fails", "its converter failed: RuntimeError: cannot lower aten::poem$", True),
        ("refuses", "its splits are poems$", True),
        ("hangs", "its converter took longer than 0.5 s$", False),
        ("leaves", "it wrote a file of another place: ../stolen/model.txt$", True),
        ("strays", "it wrote a file of another place: native/model.txt$", True),
    ],
)
def test_a_converter_that_misbehaves_costs_its_artifact_alone(
    write, monkeypatch, variant, reason, survives
):
    before = content_of(write("a"))[2]
    monkeypatch.setattr(conversion, "LONGEST_SECONDS", 0.5)
    with pytest.raises(UnsupportedModelError) as caught:
        write(variant)
    assert re.search(reason, str(caught.value))
    assert "\n" not in str(caught.value)
    monkeypatch.setattr(conversion, "LONGEST_SECONDS", 60.0)
    assert (content_of(write("a"))[2] == before) == survives


def test_what_a_converter_prints_is_no_answer(write):
    assert content_of(write("prints"))[0] == "weights"


def test_closing_ends_the_child(write, is_alive):
    opened = Conversion(["misbehaving"])
    opened.start()
    child = opened._child.pid
    assert is_alive(child)
    opened.close()
    assert not is_alive(child)


def test_a_library_that_cannot_be_imported_is_a_reason(write):
    opened = Conversion(["no_such_library"])
    with pytest.raises(UnsupportedModelError, match="No module named 'no_such_library'"):
        opened.write(Artifact("misbehaving"), NATIVE, make_contract())
    opened.close()
