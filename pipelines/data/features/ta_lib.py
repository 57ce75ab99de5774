"""TA-Lib, imported without pandas: `from pipelines.data.features.ta_lib import talib`.

TA-Lib imports pandas only to recognise its series; here it gets arrays. Pandas would be the
largest single cost of starting a serving process (`bench/loop.py` measures the start).
"""

import sys

_hidden = "pandas" not in sys.modules
if _hidden:
    sys.modules["pandas"] = None  # type: ignore[assignment] # "not installed", for this import
try:
    import talib
finally:
    if _hidden:
        del sys.modules["pandas"]

__all__ = ["talib"]
