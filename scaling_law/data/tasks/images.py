"""Small grey images of ten classes: Fashion-MNIST where it is installed, otherwise synthetic ones.

Fashion-MNIST (Xiao 2017, arXiv 1708.07747) is read from the files of Debian's package
dataset-fashion-mnist. A synthetic image is one of three smooth patterns of its class, shifted, with
a contrast of its own and noise on every pixel. Records name which images they are (``versions``).
"""

from __future__ import annotations

import functools
import gzip
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from scaling_law.data.batch import Batch
from scaling_law.data.tasks import Task
from scaling_law.spec.values import Number, Text

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

KINDS = ("installed", "fashion_mnist", "synthetic")
FOLDER = "/usr/share/datasets/fashion-mnist"
REMEDY = (
    "install Debian's package dataset-fashion-mnist, name the folder of its files with"
    " data.folder, or take data.images: synthetic"
)
CLASSES, SIDE = 10, 28
# Of the 60,000 training images the last are for validation; the 10,000 test images are for testing.
MAX_TRAIN, VALIDATION, TEST = 55_000, 5_000, 10_000
_FILES = {
    f"{part}-{what}": f"{part}-{what}-idx{dimensions}-ubyte.gz"
    for part in ("train", "t10k")
    for what, dimensions in (("images", 3), ("labels", 1))
}
# Of synthetic images: patterns of a class, their frequencies, the largest shift as a share of the
# side, and the noise on a pixel against the pattern's deviation of 1.
_PATTERNS, _FREQUENCIES, _SHIFT, _NOISE = 3, 5, 0.2, 1.0


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings of the images.

    ``images`` is ``fashion_mnist``, ``synthetic``, or ``installed`` for the first where its files
    are in the usual folder and otherwise the second;
    ``folder`` is where the files of Fashion-MNIST are;
    ``pixels`` is the side of an image, which means over squares of pixels make of 28;
    ``train_examples`` is the number of training images;
    ``seed`` decides which images are trained on, and draws synthetic ones.
    """

    images: Annotated[str, Text("which images", KINDS)] = "installed"
    folder: Annotated[str, Text("folder of Fashion-MNIST's files")] = FOLDER
    pixels: Annotated[int, Number("side of an image: 28, 14 or 7", low=7, high=SIDE)] = 14
    train_examples: Annotated[int, Number("of 55,000", "count", high=MAX_TRAIN)] = MAX_TRAIN
    seed: Annotated[int, Number("of the images trained on", low=0, high=10**9)] = 0

    def __post_init__(self) -> None:
        if SIDE % self.pixels:
            raise ValueError(f"pixels is {self.pixels}, expected 28, 14 or 7")


def is_real(settings: Settings) -> bool:
    """Whether the images are Fashion-MNIST's on this machine."""
    if settings.images != "installed" or settings.folder != FOLDER:
        return settings.images != "synthetic"
    return all((Path(FOLDER) / name).is_file() for name in _FILES.values())


def splits(settings: Settings) -> dict[str, int | None]:
    """``val`` chooses when to stop, ``val:test`` measures."""
    return {"train": settings.train_examples, "val": VALIDATION, "val:test": TEST}


def examples(settings: Settings, split: str, indices: NDArray[np.int64]) -> Batch:
    """Inputs [B, pixels, pixels] and targets [B, 1]."""
    if not is_real(settings):
        return _synthetic(settings, split, indices)
    part = "t10k" if split == "val:test" else "train"
    images, labels = _read(settings.folder, settings.pixels, part)
    if split == "train":
        indices = _trained_on(settings.seed, MAX_TRAIN)[indices]
    elif split == "val":
        indices = indices + MAX_TRAIN
    return Batch(inputs=images[indices], targets=labels[indices])


@functools.lru_cache(maxsize=8)
def _trained_on(seed: int, count: int) -> NDArray[np.int64]:
    """The order in which training sets of every size take the ``count`` images."""
    from scaling_law.data.shuffle import permutation
    from scaling_law.spec.run import derive_seed

    return permutation(derive_seed(seed, "images:train"), count)


@functools.lru_cache(maxsize=4)
def _read(folder: str, pixels: int, part: str) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The images [N, pixels, pixels], standardised, and the labels [N, 1] of a part."""
    import numpy as np

    count = TEST if part == "t10k" else MAX_TRAIN + VALIDATION
    raw = _numbers(Path(folder) / _FILES[f"{part}-images"], (count, SIDE, SIDE))
    labels = _numbers(Path(folder) / _FILES[f"{part}-labels"], (count,))
    side = SIDE // pixels
    squares = raw.reshape(count, pixels, side, pixels, side)
    images = squares.sum(axis=(2, 4), dtype=np.uint32).astype(np.float32) / (255 * side**2)
    # mean and deviation of the pixels of the training images
    return (images - np.float32(0.286)) / np.float32(0.353), labels.astype(np.int64)[:, np.newaxis]


def _numbers(path: Path, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """The bytes of a packed IDX file. Raises ``ValueError`` for one of another shape."""
    import numpy as np

    if not path.is_file():
        raise ValueError(f"{path.parent} has no file {path.name}; {REMEDY}")
    header = bytes([0, 0, 8, len(shape)]) + b"".join(size.to_bytes(4, "big") for size in shape)
    try:
        content = gzip.decompress(path.read_bytes())
    except (OSError, EOFError, zlib.error):
        content = b""
    size = len(header) + int(np.prod(shape))
    if not content.startswith(header) or len(content) != size:
        raise ValueError(f"{path}: not {' x '.join(map(str, shape))} bytes as IDX; {REMEDY}")
    return np.frombuffer(content, dtype=np.uint8, offset=len(header)).reshape(shape)


@functools.lru_cache(maxsize=8)
def _patterns(seed: int, pixels: int) -> NDArray[np.float64]:
    """The patterns of all classes, [patterns, pixels, pixels], each of mean 0 and deviation 1."""
    import numpy as np

    from scaling_law.data.shuffle import normals_at
    from scaling_law.spec.run import derive_seed

    count = CLASSES * _PATTERNS
    drawn = normals_at(derive_seed(seed, "images:patterns"), np.arange(count), _FREQUENCIES**2)
    places = (np.arange(pixels) + 0.5) * np.pi / pixels
    waves = np.cos(places[:, np.newaxis] * np.arange(_FREQUENCIES))
    patterns = waves @ drawn.reshape(count, _FREQUENCIES, _FREQUENCIES) @ waves.T
    patterns -= patterns.mean(axis=(1, 2), keepdims=True)
    whole: NDArray[np.float64] = patterns / patterns.std(axis=(1, 2), keepdims=True)
    return whole


def _synthetic(settings: Settings, split: str, indices: NDArray[np.int64]) -> Batch:
    import numpy as np

    from scaling_law.data.shuffle import normals_at, words_at
    from scaling_law.spec.run import derive_seed

    seed, pixels = derive_seed(settings.seed, f"images:{split}"), settings.pixels
    # four draws an image: its pattern, its shifts down and across, its contrast
    drawn = words_at(seed, indices[:, np.newaxis] * 4 + np.arange(4)) >> np.uint64(11)
    uniform = drawn.astype(np.float64) * 2.0**-53
    which = (uniform[:, 0] * CLASSES * _PATTERNS).astype(np.int64)
    reach = 2 * round(_SHIFT * pixels) + 1
    shifts = (uniform[:, 1:3] * reach).astype(np.int64)[:, :, np.newaxis] + np.arange(pixels)
    down, across = (shifts % pixels).transpose(1, 0, 2)
    shown = _patterns(settings.seed, pixels)[
        which[:, np.newaxis, np.newaxis], down[:, :, np.newaxis], across[:, np.newaxis]
    ]
    noise = normals_at(derive_seed(seed, "noise"), indices, pixels**2).reshape(shown.shape)
    contrast = 0.5 + uniform[:, 3, np.newaxis, np.newaxis]
    return Batch(
        inputs=(contrast * shown + _NOISE * noise).astype(np.float32),
        targets=(which // _PATTERNS)[:, np.newaxis],
    )


TASK = Task(
    vocab_size=lambda settings: CLASSES,
    n_ctx=lambda settings: 1,
    splits=splits,
    examples=examples,
    settings=Settings,
    inputs="numbers",
    features=lambda settings: settings.pixels**2,
    n_targets=lambda settings: 1,
    licence="Fashion-MNIST: MIT, Zalando SE; synthetic images: made by rule",
    versions=lambda settings: {"images": "Fashion-MNIST" if is_real(settings) else "synthetic"},
)
