"""Compression: the weights of a float16 program in fewer bits.

`int8` rounds to 255 steps, each output channel to its own; `palette6` and `palette4` keep 64 or 16
values per weight, found by k-means. Biases and small weights stay as they are: there is nothing to
win.
"""

import shutil
from typing import Any

from registry.errors import UnsupportedModelError

COMPRESSIONS = {"int8": 8, "palette6": 6, "palette4": 4}
"""Bits of a weight."""
MIN_WEIGHTS = 64
"""Smaller weights stay: a palette of 64 values would be as long as they are."""


def compress(model: Any, variant: str) -> Any:
    """Return coremltools' model compressed; as it is in a variant that is no compression.

    Raises:
        UnsupportedModelError: no weight is large enough.
    """
    if variant not in COMPRESSIONS:
        return model
    from coremltools.optimize import coreml

    if variant == "int8":
        small = coreml.linear_quantize_weights(model, config=_rounding())
    else:
        small = coreml.palettize_weights(model, config=_palettes(COMPRESSIONS[variant]))
    if not _is_compressed(small.get_spec()):
        shutil.rmtree(small.package_path)
        reason = f"no matrix of weights has more than {MIN_WEIGHTS} numbers"
        raise UnsupportedModelError("coreml", variant, reason)
    return small


def _rounding() -> Any:
    """Return the settings of int8: a step per output channel, one for a table of leaves."""
    from coremltools.optimize import coreml

    settings = [
        coreml.OpLinearQuantizerConfig(
            mode="linear_symmetric", granularity=granularity, weight_threshold=MIN_WEIGHTS
        )
        for granularity in ("per_channel", "per_tensor")
    ]
    return coreml.OptimizationConfig(settings[0], op_type_configs={"gather": settings[1]})


def _palettes(n_bits: int) -> Any:
    from coremltools.optimize import coreml

    settings = coreml.OpPalettizerConfig(mode="kmeans", nbits=n_bits, weight_threshold=MIN_WEIGHTS)
    return coreml.OptimizationConfig(settings)


def _is_compressed(specification: Any) -> bool:
    blocks = [
        block
        for function in specification.mlProgram.functions.values()
        for block in function.block_specializations.values()
    ]
    return any(_has_constexpr(block) for block in blocks)


def _has_constexpr(block: Any) -> bool:
    """Whether a weight of a block, or of the body of a loop in it, is compressed."""
    return any(
        operation.type.startswith("constexpr_") or any(map(_has_constexpr, operation.blocks))
        for operation in block.operations
    )
