"""`Modality` and `Output`: media are read, written and drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

from torch import Tensor

from .media_spec import MediaSpec


@dataclass(frozen=True)
class WrittenFile:
    """A sample that was written to a file.

    Attributes:
        path: The file.
        peak: Largest absolute value of the sample before writing; 1 is full scale.
        scaled: Whether the sample was scaled down to full scale because the format cannot store larger values.
        clipped: Share of the values outside of full scale that were clipped, 0 to 1.
        missed: What was asked for and is not so, in words; "" if nothing.
    """

    path: Path
    peak: float = 0.0
    scaled: bool = False
    clipped: float = 0.0
    missed: str = ""


class FileSupport(NamedTuple):
    """The files that a modality can read on this machine, for `sonolux doctor`.

    Attributes:
        formats: Names of the formats that can be read.
        trouble: One line with the remedy for each library that cannot be used.
    """

    formats: Sequence[str] = ()
    trouble: Sequence[str] = ()


class Output(Protocol):
    """Writes samples in another way than the modality: post-processed, or in another format.

    If the constructor has a parameter `loop: bool`, sonolux passes whether samples are loops; processing (trimming,
    fading) must then leave the end of a sample continuous with its beginning.

    Attributes:
        suffix: File name suffix, such as ".wav".
    """

    suffix: str

    def write(self, path: Path, media: Tensor) -> WrittenFile:
        """Write one sample (C, *spatial).

        Raises:
            BadInput: The sample contains non-finite values; nothing is written.
        """
        ...


class Modality(Protocol):
    """Names a kind of media, and writes and draws it. Its codecs, networks and datasets are in the same folder.

    Optional methods and attributes; a command that needs one which is missing says so:

        folder_analyzer() -> FolderAnalyzer         static; what `sonolux prepare` does with a folder of such files, see
                                                    core/data/prepare/types.py
        doctor() -> FileSupport                     static; formats that can be read, and libraries that cannot be used,
                                                    for `sonolux doctor`
        evaluation() -> EvaluationAdapter           what `sonolux eval` needs, see core/evaluation/adapter.py
        read(path) -> (C, *spatial)                 reads a file as training does, for `sonolux edit` and `eval
                                                    --folder`. With axes other than time it also takes `fit=False`,
                                                    which keeps the size of the file
        file_spec(path) -> MediaSpec                channels, sizes and rates of a file as it is; edits say what `read`
                                                    changes of it
        fitted(size) -> [(scale, offset), ...]      for each axis other than time: position i in a file of this size is
                                                    at scale i - offset after `read`; boxes are converted by it
        limited(media, known) -> media              media whose part that is not known, (1, *spatial) bool, is brought
                                                    within full scale, if `write` would change the known part too
        levelled(media, data) -> (gain, offset)     the level adjustment of training, gain (media - offset); edits
                                                    apply the inverse
        codec: str                                  default codec of recipes that do not name one

    Attributes:
        name: Registered name, as in recipes.
        suffix: File name suffix, such as ".png".
    """

    name: str
    suffix: str

    def spec(self) -> MediaSpec:
        """The media specification that the recipe's `modality` section describes."""
        ...

    def write(self, path: Path, media: Tensor) -> WrittenFile:
        """Write one example (C, *spatial).

        Raises:
            BadInput: The example contains non-finite values; nothing is written.
        """
        ...

    def sheet(self, path: Path, media: Sequence[Tensor], captions: Sequence[str] = ()) -> Path:
        """Draw examples as one PNG: a grid of images, or spectrograms and waveforms."""
        ...

    def strip(self, path: Path, rows: Sequence[Sequence[Tensor]]) -> Path:
        """Draw rows of examples as one PNG; each row is the denoising trajectory of one sample."""
        ...

    def animate(self, path: Path, frames: Sequence[Sequence[Tensor]]) -> Path:
        """Write an animated GIF; each frame shows several examples side by side."""
        ...
