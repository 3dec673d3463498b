"""The folder of a state's shares, as torch's distributed checkpoints write and read it.

torch describes the folder in a pickle, which could run code when it is read. So the description is
returned as plain values, which belong into the state's own file, and the pickle is removed unread.
Importing this takes most of a second, so only a state in shares does.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.distributed.checkpoint.filesystem import (
    FileSystemReader,
    FileSystemWriter,
    _StorageInfo,
)
from torch.distributed.checkpoint.metadata import (
    ChunkStorageMetadata,
    Metadata,
    MetadataIndex,
    TensorProperties,
    TensorStorageMetadata,
)
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save

from scaling_law.train.checkpoint import DamagedCheckpoint

_PICKLE = ".metadata"
# Types of tensors that a state may hold.
_TYPES = {str(one): one for one in (torch.float32, torch.float64, torch.bfloat16, torch.int64)}


def write(tensors: dict[str, Tensor], folder: Path, *, alone: bool) -> dict[str, Any]:
    """Write this process's shares of ``tensors``; ``alone`` says that it has all of each.

    Returns the description of the folder: of each tensor its type, its size and its chunks, and
    where each chunk is stored.
    """
    with _quiet():
        metadata = save(tensors, storage_writer=FileSystemWriter(folder), no_dist=alone)
    (folder / _PICKLE).unlink(missing_ok=True)  # every process returns once it is there
    assert isinstance(metadata, Metadata)
    described = {}
    for name, one in metadata.state_dict_metadata.items():
        assert isinstance(one, TensorStorageMetadata), f"{name} is a tensor"
        described[name] = {
            "dtype": str(one.properties.dtype),
            "size": list(one.size),
            "chunks": [[list(chunk.offsets), list(chunk.sizes)] for chunk in one.chunks],
        }
    stored = [
        [index.fqn, list(index.offset or ()), index.index, at.relative_path, at.offset, at.length]
        for index, at in metadata.storage_data.items()
    ]
    return {"tensors": described, "stored": stored}


def read_into(
    tensors: dict[str, Tensor], folder: Path, description: Mapping[str, Any], *, alone: bool
) -> None:
    """Read into each of ``tensors`` what this process has of it, whatever shares were written.

    ``description`` is that of ``write``. Raises ``DamagedCheckpoint``.
    """
    try:
        reader = _Reader(folder, _metadata(description))
    except (KeyError, TypeError, ValueError, AttributeError) as problem:
        raise DamagedCheckpoint(f"{folder}: its description is damaged ({problem!r})") from None
    with _quiet():
        load(tensors, storage_reader=reader, no_dist=alone)


class _Reader(FileSystemReader):
    """torch's reader of a folder that is described elsewhere."""

    def __init__(self, folder: Path, metadata: Metadata) -> None:
        super().__init__(folder)
        self._metadata = metadata

    def read_metadata(self, *args: Any, **kwargs: Any) -> Metadata:
        return self._metadata


def _metadata(description: Mapping[str, Any]) -> Metadata:
    tensors: dict[str, Any] = {
        name: TensorStorageMetadata(
            properties=TensorProperties(dtype=_TYPES[one["dtype"]]),
            size=torch.Size(one["size"]),
            chunks=[
                ChunkStorageMetadata(offsets=torch.Size(offsets), sizes=torch.Size(sizes))
                for offsets, sizes in one["chunks"]
            ],
        )
        for name, one in description["tensors"].items()
    }
    stored = {}
    for name, offset, number, path, at, length in description["stored"]:
        if Path(path).name != path:
            raise ValueError(f"a file outside the folder, {path!r:.60}")
        index = MetadataIndex(name, torch.Size(offset), number)
        stored[index] = _StorageInfo(relative_path=path, offset=at, length=length)
    names = {name: (name,) for name in tensors}
    return Metadata(state_dict_metadata=tensors, planner_data=names, storage_data=stored)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Leave out torch's warnings that a process alone writes or reads without a group."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield
