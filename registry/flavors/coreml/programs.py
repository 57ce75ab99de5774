"""ML Programs: what coremltools converts, with the names, types and row counts of this platform.

`features` and `scores` are float32 in every variant. `fp16` computes in float16 what follows the
scaling of the features: a feature of -9.01 and a mean of -9 have no difference left in float16.
"""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from traceback import clear_frames
from typing import Any

import numpy as np

from registry.errors import UnsupportedModelError
from registry.flavors.coreml.compatibility import apply_corrections
from registry.flavors.coreml.compression import compress
from registry.flavors.coreml.packages import WEIGHTS_FILE, Package
from registry.flavors.graphs import INPUT, OUTPUT

MAX_ROWS = 4096
"""Most rows of one call. A range has a fast path on Apple's devices, an open end has none."""
FAILURES = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""What coremltools raises, by no rule, for what it cannot convert."""
_SCALING = ("add", "maximum", "minimum", "mul", "not_equal", "real_div", "select", "sub", "tanh")
"""Operations that fill, bound, scale and squash each feature by itself."""


@dataclass(frozen=True, slots=True)
class ProgramSource:
    """What becomes an ML Program.

    `architecture` is for error messages. `make` gives a trace of torch or a program of
    coremltools' builder. Operations whose name `is_half` refuses stay in float32 in `fp16`, and so
    does the scaling of the features. `passes` are those of coremltools that are applied, by default
    all of them.
    """

    architecture: str
    row_shape: tuple[int, ...]
    make: Callable[[], Any]
    is_half: Callable[[str], bool] = lambda _: True
    passes: tuple[str, ...] = ()


def write_program(source: ProgramSource, variant: str, target: Any) -> Package:
    """Return the package of a program.

    Args:
        target: the `coremltools.target` that it must run on.

    Raises:
        UnsupportedModelError: coremltools cannot convert it, or nothing can be compressed.
    """
    from coremltools.converters.mil import Builder

    apply_corrections()
    Builder.name_count.clear()  # the names of operations begin anew, for the same bytes every time
    with TemporaryDirectory() as folder:
        try:
            model = compress(_convert(source, variant, target, folder), variant)
        except FAILURES as exc:
            clear_frames(exc.__traceback__)  # they hold coremltools' temporary folders
            reason = str(exc).strip().partition("\n")[0] or type(exc).__name__
            raise UnsupportedModelError("coreml", source.architecture, reason) from exc
        return _read(model)


def _read(model: Any) -> Package:
    """Take coremltools' model out of the temporary folder that it lies in, and end the folder."""
    weights = Path(model.weights_dir) / WEIGHTS_FILE
    package = Package(model.get_spec(), weights.read_bytes() if weights.exists() else b"")
    shutil.rmtree(model.package_path)
    return package


def _convert(source: ProgramSource, variant: str, target: Any, folder: str) -> Any:
    import coremltools as ct

    rows = ct.RangeDim(1, MAX_ROWS, default=1)
    program = source.make()
    is_trace = not hasattr(program, "functions")
    return ct.convert(
        program,
        convert_to="mlprogram",
        inputs=[ct.TensorType(INPUT, (rows, *source.row_shape), dtype=np.float32)],
        outputs=[ct.TensorType(OUTPUT, dtype=np.float32)] if is_trace else None,
        compute_precision=_precision(source, variant),
        minimum_deployment_target=target,
        pass_pipeline=_passes(source),
        skip_model_load=True,
        package_dir=str(Path(folder) / "model.mlpackage"),
    )


def _precision(source: ProgramSource, variant: str) -> Any:
    import coremltools as ct

    if variant == "fp32":
        return ct.precision.FLOAT32
    return ct.transform.FP16ComputePrecision(
        lambda operation: source.is_half(operation.name) and not _is_scaling(operation)
    )


def _is_scaling(operation: Any) -> bool:
    """Whether nothing but scaling lies between the input and an operation, and it is scaling."""
    if operation.op_type not in _SCALING:
        return False
    makers = [value.op for value in operation.inputs.values()]
    return all(m is None or m.op_type == "const" or _is_scaling(m) for m in makers)


def _passes(source: ProgramSource) -> Any:
    """Return the passes without the one that makes indices int16, whatever their size."""
    import coremltools as ct

    if source.passes:
        return ct.PassPipeline(list(source.passes), "of this source")
    passes = ct.PassPipeline()
    passes.remove_passes({"common::add_int16_cast"})
    return passes
