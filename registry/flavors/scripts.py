"""Scripts: reading and writing TorchScript files (`.pt`).

Such a file is a program, not just numbers: `open_script` is called only on bytes whose digest was
recorded when our own convert stage wrote them. It also refuses whatever `save_script` does not
write: the members of the archive are known by name, none is compressed, and each byte belongs to
one of them.

What torch saves beside a traced program is left out: the source lines and paths of the tracing
process, a copy of the example, and numbers that count the traces which that process has made. So
the same program gives the same bytes. The version of torch is added, for the message that a
later one cannot read it.
"""

import io
import re
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from registry.errors import UnreadableArtifactError

if TYPE_CHECKING:
    from torch.jit import ScriptModule

MAX_BYTES = 4 * 2**30 - 1
"""Of a file; a larger one would need the zip format's second form."""
WRITTEN_BY = "extra/torch_version"
_KEPT = re.compile(
    r"archive/(code/__torch__(/\w+)+\.py|data/\d+|constants/\d+"
    rf"|data\.pkl|constants\.pkl|(\.data/)?version|byteorder|{WRITTEN_BY})"
)
_COUNTED = re.compile(rb"[./]___torch_mangle_\d+")
"""What torch adds to the name of a class that it has seen before in this process."""
_BYTES_PER_MEMBER, _BYTES_AT_END = 76, 22
"""Of the two headers of a member beside its name, which stands in both, and of the zip's end."""


def save_script(script: "ScriptModule") -> bytes:
    """Return a traced module of one class as a TorchScript file."""
    import torch

    saved = io.BytesIO()
    with without_deprecation():
        torch.jit.save(script, saved, _extra_files={"torch_version": _torch_version()})
    written = io.BytesIO()
    with zipfile.ZipFile(saved) as source, zipfile.ZipFile(written, "w") as target:
        for member in source.infolist():
            name = _COUNTED.sub(b"", member.filename.encode()).decode()
            if _KEPT.fullmatch(name):
                content = source.read(member)
                if name.endswith((".py", ".pkl")):
                    content = _COUNTED.sub(b"", content)
                target.writestr(zipfile.ZipInfo(name), content)
    return written.getvalue()


def open_script(payload: bytes, device: str) -> "ScriptModule":
    """Return the module of a TorchScript file on a device of torch, in evaluation mode.

    Raises:
        UnreadableArtifactError: the bytes are not such a file, or torch cannot read it.
    """
    import torch

    author = _check(payload)
    try:
        with without_deprecation():
            script: ScriptModule = torch.jit.load(  # type: ignore[no-untyped-call]
                io.BytesIO(payload), map_location=device
            )
            return script.eval()
    except (RuntimeError, ValueError) as exc:
        cause = f"torch {author} wrote it, torch {_torch_version()} cannot load it"
        raise UnreadableArtifactError("torchscript", cause) from exc


@contextmanager
def without_deprecation() -> Iterator[None]:
    """Silence torch's notice, on each call, that TorchScript will go (docs/decisions/)."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"`torch\.jit\.\w+` is deprecated", DeprecationWarning)
        yield


def _check(payload: bytes) -> str:
    """Return the version of torch that a file says it was written by.

    Raises:
        UnreadableArtifactError: not an archive, or one with a member that does not belong in it,
            a compressed one, a name twice, or bytes that belong to no member.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(payload)) as archive:
            members = archive.infolist()
            names = [member.filename for member in members]
            if foreign := [name for name in names if not _KEPT.fullmatch(name)]:
                raise UnreadableArtifactError("torchscript", f"unknown member {foreign[0]!r}")
            if len(set(names)) < len(names):
                raise UnreadableArtifactError("torchscript", "a member's name stands in it twice")
            if any(member.compress_type != zipfile.ZIP_STORED for member in members):
                raise UnreadableArtifactError("torchscript", "a member is compressed")
            known = sum(_BYTES_PER_MEMBER + 2 * len(m.filename) + m.file_size for m in members)
            if len(payload) > MAX_BYTES or len(payload) != known + _BYTES_AT_END:
                cause = f"{len(payload)} bytes, its members account for {known + _BYTES_AT_END}"
                raise UnreadableArtifactError("torchscript", cause)
            return archive.read(f"archive/{WRITTEN_BY}").decode()
    except (zipfile.BadZipFile, KeyError, UnicodeDecodeError) as exc:
        raise UnreadableArtifactError("torchscript", "not a TorchScript archive") from exc


def _torch_version() -> str:
    """Return torch's version without the build's own part: 2.13.0 of 2.13.0+cpu."""
    import torch

    return torch.__version__.partition("+")[0]
