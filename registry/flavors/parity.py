"""Parity: how far the scores of a converted artifact may be from those of the native model.

The convert stage runs the predictors and measures |a - b| / max(1, |native|), so that margins near
zero are compared absolutely and large ones relatively.
"""

LIMITS = {"native": 0.0, "onnx": 1e-4}
"""Largest allowed difference per flavor. Trees differ by the order of a float32 sum and networks
by the order of float32 matrix products: a few 1e-6, `tests/conformance/test_flavors.py` measures
it. One leaf taken wrongly or a forgotten intercept is far above 1e-4."""
