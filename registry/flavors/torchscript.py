"""Flavor `torchscript`: one file that torch runs on any of its devices, at any batch size.

Written from the version's own `.pt2` file. An exported program keeps facts of the machine that made
it: the device of every tensor that it creates, and number constants as tensors of that device. So
the program's graph is written anew without them, traced, and saved unfrozen in float32: a frozen
module cannot move. What cannot be rewritten is refused by its name.

A trace that keeps the example's batch size does not fail at another, it ends the process. So the
program is traced at two batch sizes, which must give the same code, and `write` runs the file
before it returns it: at several batch sizes, and on torch's `meta` device, where a tensor of any
other device is an error. It is called in a process of its own.
"""

from typing import TYPE_CHECKING

from registry.contract import ModelContract
from registry.errors import UnsupportedModelError
from registry.flavors import FULL, Artifact, NativeModel
from registry.flavors.movable_graphs import movable_graph
from registry.flavors.programs import open_program
from registry.flavors.scripts import open_script, save_script, without_deprecation

if TYPE_CHECKING:
    import torch
    from torch.export import ExportedProgram

FILE = Artifact("torchscript").path(".pt")
EXAMPLE_ROWS = (2, 3)
PROOF_ROWS = (1, 2, 7)
"""Batch sizes that a written file is run at."""


class TorchScript:
    """TorchScript of a network, float32."""

    name = "torchscript"
    libraries = ("torch",)
    variants = (FULL,)
    compressions: tuple[str, ...] = ()

    def unavailable_reason(self) -> str | None:
        """Return None: it needs nothing but torch, which a network needs too."""
        return None

    def write(
        self, native: NativeModel, contract: ModelContract, variant: str = FULL
    ) -> dict[str, bytes]:
        """Return the TorchScript file.

        Raises:
            UnsupportedModelError: the model is no torch network, or its program has an operation
                that fixes a device or a batch size.
            UnreadableArtifactError: the payload is not a `.pt2` file.
        """
        if native.format != "torch-export":
            reason = "only a network of torch (torch-export) can be TorchScript"
            raise UnsupportedModelError(self.name, native.format, reason)
        program = open_program(native.payload)
        payload = save_script(_trace(program))
        _prove(payload, program)
        return {FILE: payload}


def trace_program(payload: bytes) -> "torch.jit.ScriptModule":
    """Return the trace of a `.pt2` file, on the CPU: no device and no batch size is fixed in it.

    Raises:
        UnsupportedModelError: an operation that fixes a device or a batch size.
        UnreadableArtifactError: the payload is not a `.pt2` file.
    """
    return _trace(open_program(payload))


def _trace(program: "ExportedProgram") -> "torch.jit.ScriptModule":
    import torch

    module, shape = movable_graph(program), row_shape(program)
    with without_deprecation(), torch.inference_mode():
        one, other = (
            torch.jit.trace(  # type: ignore[no-untyped-call]
                module, torch.zeros(n_rows, *shape), check_trace=False
            )
            for n_rows in EXAMPLE_ROWS
        )
    assert isinstance(one, torch.jit.ScriptModule)  # only a function becomes something else
    if one.code != other.code:
        raise _refusal("its trace keeps the batch size of the example")
    return one


def _prove(payload: bytes, program: "ExportedProgram") -> None:
    """Run the file on the CPU and on `meta` at several batch sizes.

    Raises:
        UnsupportedModelError: other scores than the program's in number, or a tensor that did not
            move.
    """
    import torch

    exported = program.module()
    with torch.inference_mode():
        for device in ("cpu", "meta"):
            script = open_script(payload, device)
            for n_rows in PROOF_ROWS:
                rows = torch.zeros(n_rows, *row_shape(program))
                expected = exported(rows).shape
                try:
                    found = script(rows.to(device)).shape
                except RuntimeError as exc:
                    reason = str(exc).strip().splitlines()[-1]
                    raise _refusal(f"it fails with {n_rows} rows on {device}: {reason}") from exc
                if found != expected:
                    shapes = f"{tuple(found)} and not {tuple(expected)}"
                    raise _refusal(f"it gives {shapes} for {n_rows} rows on {device}")


def _refusal(reason: str) -> UnsupportedModelError:
    return UnsupportedModelError("torchscript", "torch-export", reason)


def row_shape(program: "ExportedProgram") -> tuple[int, ...]:
    """Return the shape of one row of the program's one input."""
    (name,) = program.graph_signature.user_inputs
    features = next(node for node in program.graph.nodes if node.name == name)
    return tuple(int(size) for size in features.meta["val"].shape[1:])


FLAVOR = TorchScript()
