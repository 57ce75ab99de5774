"""Compatibility: what coremltools 9.0 gets wrong with torch 2.13 and numpy 2.4, put right.

coremltools 9.0 is the newest release, and its makers tested it up to torch 2.7. Each correction
says what fails without it and when it can go. They change tables of coremltools in this process,
once, and only where something is converted. `tests/registry/flavors/coreml/test_compatibility.py`
notices when coremltools has a correction of its own.
"""

import copy
from functools import cache
from typing import Any

TESTED_VERSION = "9.0"
"""The release that the corrections were written against."""


@cache
def apply_corrections() -> None:
    """Apply every correction; later calls do nothing."""
    from coremltools.converters.mil.frontend.torch import ops
    from coremltools.converters.mil.frontend.torch.torch_op_registry import _TORCH_OPS_REGISTRY

    _TORCH_OPS_REGISTRY.set_func_by_name(_alias, "alias")
    _TORCH_OPS_REGISTRY.set_func_by_name(_recurrence(ops.lstm, ("out", "h", "c")), "lstm.input")
    _TORCH_OPS_REGISTRY.set_func_by_name(_recurrence(ops.gru, ("out", "h")), "gru.input")
    ops._cast = _cast_of_arrays(ops._cast)


def _alias(context: Any, node: Any) -> None:
    """Translate `alias`, which torch.export writes since 2.8 and coremltools does not know.

    Can go when coremltools' own table of torch operations has `alias`.
    """
    from coremltools.converters.mil import Builder
    from coremltools.converters.mil.frontend.torch import ops

    x = ops._get_inputs(context, node, expected=1)[0]
    context.add(Builder.identity(x=x, name=node.name))


def _recurrence(translate: Any, parts: tuple[str, ...]) -> Any:
    """Return the translation of `lstm.input` or `gru.input`, made from that of `lstm` or `gru`.

    In a program of torch.export the operation has its full name and one output that is a tuple;
    coremltools neither finds the name nor keeps the states. Can go when it converts such a program
    with an LSTM by itself.
    """

    def translated(context: Any, node: Any) -> None:
        flat = copy.copy(node)
        flat.outputs = [f"{node.name}_{part}" for part in parts]
        translate(context, flat)
        context.add(tuple(context[name] for name in flat.outputs), torch_name=node.name)

    return translated


def _cast_of_arrays(cast: Any) -> Any:
    """Return `_cast` for constants that are arrays of one number.

    coremltools calls `int(array)`, which numpy 2.4 refuses unless the array has no dimension. Can
    go with the first release after 9.0: their main branch has it.
    """
    from coremltools.converters.mil import Builder
    from coremltools.converters.mil.frontend.torch import ops

    def corrected(context: Any, node: Any, dtype: Any, dtype_name: str) -> Any:
        x = ops._get_inputs(context, node, expected=1)[0]
        is_array = x.can_be_folded_to_const() and getattr(x.val, "ndim", 0) > 0
        if not is_array or x.val.size != 1:
            return cast(context, node, dtype, dtype_name)
        context.add(Builder.const(val=dtype(x.val.item()), name=node.name), node.name)
        return None

    return corrected
