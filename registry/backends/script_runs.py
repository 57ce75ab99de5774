"""TorchScript on the processor: loaded there, frozen there.

A file is saved unfrozen, because a frozen module cannot move. Freezing puts the weights into the
code and changes no number: the optimisations that might are left out.
"""

from registry.backends.native_runs import Run, torch_run
from registry.contract import ModelContract
from registry.errors import UnreadableArtifactError
from registry.flavors.scripts import open_script, without_deprecation


def load_script(payload: bytes, contract: ModelContract) -> Run:
    """Return a run of a TorchScript file.

    Raises:
        UnreadableArtifactError: the bytes are not such a file, or it does not map a row of the
            contract to the contract's scores.
    """
    import torch

    module = open_script(payload, "cpu")
    with without_deprecation():
        frozen = torch.jit.freeze(module, optimize_numerics=False)
    row_shape = tuple(size or 0 for size in contract.inputs.shape[1:])
    n_scores = contract.outputs.shape[1]
    try:
        with torch.inference_mode():
            found = tuple(frozen(torch.zeros(1, *row_shape)).shape)
    except RuntimeError as exc:
        cause = f"it does not take rows of shape {row_shape}, which the contract says"
        raise UnreadableArtifactError("torchscript", cause) from exc
    if found != (1, n_scores):
        cause = f"it gives {found[1:]} scores for a row, the contract says {n_scores}"
        raise UnreadableArtifactError("torchscript", cause)
    return torch_run(frozen)
