"""Conversion: artifacts written by a child process, which a converter may crash.

Importing coremltools takes ten seconds and torch's tracer can end a process, so one child process
per version writes all artifacts whose flavor names `libraries`. It is started early, imports them
beside other work, and answers one request after another. When it dies, the artifact in hand is
refused with the reason and the next one gets a new process.

The two processes share a folder: `native` and `contract.json` go in, the files of an artifact come
out. Requests and answers are lines of JSON.
"""

import importlib
import json
import os
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Any

from registry.contract import ModelContract
from registry.errors import MLEngineError, UnsupportedModelError
from registry.flavors import FLAVORS, Artifact, NativeModel
from registry.version_files import is_inside

LONGEST_SECONDS = 300.0
"""How long one artifact may take; a converter that takes longer is ended."""
NATIVE_FILE, CONTRACT_FILE, MADE = "native", "contract.json", "made"


class Conversion:
    """Writes the artifacts of one model, in a child process where a flavor needs one."""

    def __init__(self, libraries: Collection[str] = ()) -> None:
        self._libraries = tuple(libraries)
        self._folder = TemporaryDirectory()
        self._child: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the child process, which imports the libraries, if there are any.

        `write` starts it otherwise.
        """
        if not self._libraries:
            return
        errors = (Path(self._folder.name) / "errors").open("wb")
        with errors:
            self._child = subprocess.Popen(
                [sys.executable, "-m", __name__, self._folder.name, *self._libraries],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                cwd=Path(__file__).parents[2],
            )

    def write(
        self, artifact: Artifact, native: NativeModel, contract: ModelContract
    ) -> dict[str, bytes]:
        """Return the artifact's files: path inside the version -> content.

        Raises:
            UnsupportedModelError: the flavor cannot hold the model, or its converter crashed.
        """
        flavor = FLAVORS.get(artifact.flavor)
        if not flavor.libraries:
            return flavor.write(native, contract, artifact.variant)
        self._libraries = self._libraries or flavor.libraries
        if self._child is None or self._child.poll() is not None:
            self.start()
        folder = Path(self._folder.name)
        (folder / NATIVE_FILE).write_bytes(native.payload)
        (folder / CONTRACT_FILE).write_text(contract.to_json())
        request = {"flavor": flavor.name, "variant": artifact.variant, "format": native.format}
        answer = self._ask(request, artifact, native.format)
        if reason := answer.get("reason"):
            raise UnsupportedModelError(str(artifact), native.format, reason)
        for name in answer["files"]:
            if Artifact.of(name) != artifact:
                reason = f"it wrote a file of another place: {name}"
                raise UnsupportedModelError(str(artifact), native.format, reason)
        return {name: (folder / MADE / name).read_bytes() for name in answer["files"]}

    def close(self) -> None:
        """End the child process."""
        if self._child is not None:
            self._child.kill()
            self._child.communicate()
        self._folder.cleanup()

    def _ask(self, request: dict[str, str], artifact: Artifact, native: str) -> dict[str, Any]:
        child = self._child
        assert child is not None and child.stdin is not None and child.stdout is not None
        try:
            child.stdin.write(json.dumps(request).encode() + b"\n")
            child.stdin.flush()
            ready, _, _ = select.select([child.stdout], [], [], LONGEST_SECONDS)
            line = child.stdout.readline() if ready else b""
        except BrokenPipeError:
            ready, line = [child.stdout], b""
        if line.endswith(b"\n"):
            answer: dict[str, Any] = json.loads(line)
            return answer
        if not ready:
            child.kill()
        ended = self._end()
        reason = ended if ready else f"took longer than {LONGEST_SECONDS:g} s"
        raise UnsupportedModelError(str(artifact), native, f"its converter {reason}")

    def _end(self) -> str:
        """End the child process; return what became of it."""
        assert self._child is not None
        if self._child.poll() is None:
            try:
                self._child.wait(1.0)
            except subprocess.TimeoutExpired:
                self._child.kill()
        self._child.communicate()
        status, self._child = self._child.returncode, None
        if status < 0:
            return f"crashed ({signal.Signals(-status).name})"
        lines = (Path(self._folder.name) / "errors").read_text(errors="replace").split("\n")
        last = next((line for line in reversed(lines) if line.strip()), "")
        return f"ended with status {status}" + (f": {last.strip()}" if last else "")


@contextmanager
def conversion(libraries: Collection[str] = ()) -> Iterator[Conversion]:
    """Give a conversion whose process will import these libraries; end the process afterwards."""
    opened = Conversion(libraries)
    try:
        yield opened
    finally:
        opened.close()


# The child process -----------------------------------------------------------------------------


def _serve(folder: Path, libraries: Collection[str], requests: IO[bytes]) -> None:
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what converters print is no answer
    for library in libraries:
        importlib.import_module(library)
    for line in requests:
        answers.write(json.dumps(_answer(folder, json.loads(line))).encode() + b"\n")
        answers.flush()


def _answer(folder: Path, request: dict[str, str]) -> dict[str, Any]:
    native = NativeModel(request["format"], (folder / NATIVE_FILE).read_bytes())
    contract = ModelContract.from_json((folder / CONTRACT_FILE).read_text())
    shutil.rmtree(folder / MADE, ignore_errors=True)
    try:
        files = FLAVORS.get(request["flavor"]).write(native, contract, request["variant"])
    except UnsupportedModelError as exc:
        return {"reason": exc.reason}
    except MLEngineError as exc:
        return {"reason": str(exc)}
    except Exception as exc:  # a converter may raise anything; it fails its artifact alone
        first = str(exc).strip().partition("\n")[0]
        return {"reason": f"its converter failed: {type(exc).__name__}: {first}"}
    for name, content in files.items():
        if is_inside(name):
            path = folder / MADE / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    return {"files": sorted(files)}


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's business; it ends us
    _serve(Path(sys.argv[1]), sys.argv[2:], sys.stdin.buffer)
