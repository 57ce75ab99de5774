"""Parity: how far the scores of an artifact may be from those of the model that it holds.

A converted artifact is compared with native, and native with the fitted estimator itself.

The convert stage runs the predictors and measures |a - b| / max(1, |native|), so that margins near
zero are compared absolutely and large ones relatively. Each artifact has up to three gates, which
`registry.gates` demands:

- `parity.FLAVOR.VARIANT`: the difference on the reference rows;
- `parity.FLAVOR.VARIANT.extremes`: the difference on extreme rows;
- `parity.FLAVOR.VARIANT.labels`: the share of rows with the same best class, for classes.
"""

from registry.flavors import FULL, Artifact

LIMITS = {FULL: 1e-5, "fp16": 2e-3, "int8": 1e-2, "palette6": 1e-2, "palette4": 3e-2}
"""Largest difference on reference rows per variant. At full precision trees differ by the order of
a float32 sum and networks by the order of float32 matrix products: a few 1e-6, which
`tests/conformance/test_flavors.py` measures. One leaf taken wrongly, or a forgotten intercept, is
far above it."""
EXTREMES_LIMIT = 1e-4
"""Largest difference of a network at full precision on extreme rows; trees and arrays stay within
`LIMITS` there as well."""
LABELS_LIMIT = 0.999
"""Smallest share of rows with the same best class."""
EARLIER_LIMITS = {"native": 0.0, "onnx": 1e-4}
"""Limits of versions whose record names no variants (`parity.onnx`): those of their day."""
SAID_OF_EACH = ("native", "onnx", "torchscript", "coreml")
"""Flavors that every record with variants says something about: a value, or why there is none."""
EXTREMES, LABELS = "extremes", "labels"


def gate_name(artifact: Artifact, measure: str = "") -> str:
    """Return the name of an artifact's gate; `measure` is "", `EXTREMES` or `LABELS`."""
    return ".".join(part for part in ("parity", str(artifact), measure) if part)


def limit(artifact: Artifact, measure: str = "", *, is_network: bool = True) -> float:
    """Return the limit of an artifact; 0 for a variant that is not known here."""
    if measure == LABELS:
        return LABELS_LIMIT
    if artifact.flavor == "native":  # nothing is converted
        return LIMITS[FULL] if artifact.variant == FULL else 0.0
    if measure == EXTREMES and artifact.variant == FULL and is_network:
        return EXTREMES_LIMIT
    return LIMITS.get(artifact.variant, 0.0)
