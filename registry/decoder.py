"""Decoder: everything fitted after the scores, applied by the template's numpy code.

Calibrator, conformal scores, class mean returns, out-of-distribution statistics: small arrays
and facts that belong to a version, saved as `decoder.json` and `decoder.npz` and digested like
any artifact. `Decoder.from_files(decoder.to_files()) == decoder` up to array equality.
"""

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from registry.contract import Json

JSON_FILE, ARRAYS_FILE = "decoder.json", "decoder.npz"


@dataclass(frozen=True, slots=True)
class Decoder:
    """`facts` are JSON values, `arrays` are float64 unless the template says otherwise."""

    facts: Mapping[str, Json] = field(default_factory=dict)
    arrays: Mapping[str, NDArray[Any]] = field(default_factory=dict)

    def to_files(self) -> dict[str, bytes]:
        """Return file name -> content."""
        buffer = io.BytesIO()
        np.savez(buffer, **{name: np.asarray(a) for name, a in self.arrays.items()})  # type: ignore[arg-type]
        text = json.dumps(dict(self.facts), indent=2, sort_keys=True)
        return {JSON_FILE: text.encode(), ARRAYS_FILE: buffer.getvalue()}

    @classmethod
    def from_files(cls, files: Mapping[str, bytes]) -> "Decoder":
        """Return the decoder that `to_files` wrote; pickled arrays are refused by numpy."""
        with np.load(io.BytesIO(files[ARRAYS_FILE]), allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        return cls(json.loads(files[JSON_FILE]), arrays)
