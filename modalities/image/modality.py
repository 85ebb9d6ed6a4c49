"""Images as a modality: the media specification, picture files, and grids, strips and animations of pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from ...core.data.files import format_path
from ...core.data.prepare.types import FolderAnalyzer
from ...core.evaluation.adapter import EvaluationAdapter
from ...core.types import BadInput, FileSupport, MediaSpec, WrittenFile
from ...core.util.notes import issue_note
from . import io, visualize

MOST_PIXELS = 2**16  # along one axis


class Image:
    """Still pictures, (C, H, W) in [-1, 1].

    Args:
        size: Size in pixels: one number for a square, or [height, width].
        channels: 1 (grey) or 3 (RGB).
    """

    name = "image"
    suffix = ".png"

    def __init__(self, size: int | tuple[int, int] = 32, channels: int = 3):
        both = tuple(size) if isinstance(size, (list, tuple)) else (size, size)
        if len(both) != 2 or not all(type(n) is int and 1 <= n <= MOST_PIXELS for n in both):
            most = f"at most {MOST_PIXELS}"
            raise BadInput(f"modality.size is one number of pixels, {most}, or [height, width]; got {size!r}")
        if channels not in (1, 3):
            raise BadInput(f"modality.channels is 1 (grey) or 3 (RGB); got {channels}")
        self.size: tuple[int, int] = (both[0], both[1])
        self.channels = channels

    @staticmethod
    def folder_analyzer() -> FolderAnalyzer:
        """The component of `sonolux prepare` for folders of pictures."""
        from .prepare.prepare import PictureFolderAnalyzer

        return PictureFolderAnalyzer()

    @staticmethod
    def doctor() -> FileSupport:
        """Formats of picture files that can be read."""
        return FileSupport(sorted({suffix.removeprefix(".").upper() for suffix in io.SUFFIXES}))

    def evaluation(self) -> EvaluationAdapter:
        """The evaluation adapter of pictures for `sonolux eval`."""
        from .evaluation import ImageEvaluation

        return ImageEvaluation()

    def spec(self) -> MediaSpec:
        """Channels and size (H, W)."""
        return MediaSpec(self.name, self.channels, ("height", "width"), self.size)

    def read(self, path: Path, fit: bool = True) -> Tensor:
        """A picture file as (C, H, W) in [-1, 1] with the recipe's channels.

        Args:
            path: The file.
            fit: Resize and centre-crop to the recipe's size; False: keep the size of the file.

        Remarks, such as on a colour profile, become warnings.

        Raises:
            BadInput: With the file and the reason (io.UnreadablePicture).
        """
        picture = io.decode_picture(path, self.channels, self.size if fit else None)
        for remark in picture.remarks:
            issue_note(f"{format_path(Path(path))}: {remark}", stacklevel=2)
        media = io.decoded_to_media(picture, self.channels)
        return io.crop_picture(media, self.size) if fit else media

    def file_spec(self, path: Path) -> MediaSpec:
        """Channels and size (H, W) of a picture file, upright."""
        channels, size = io.read_picture_properties(path)
        return MediaSpec(self.name, channels, ("height", "width"), size)

    def fitted(self, size: Sequence[int]) -> list[tuple[float, float]]:
        """(scale, offset) of rows and columns: pixel i of a picture of `size` (H, W) is read at scale i - offset."""
        covering = io.covering_size((size[0], size[1]), self.size)
        return [(new / old, float((new - kept) // 2)) for new, old, kept in zip(covering, size, self.size, strict=True)]

    def write(self, path: Path, media: Tensor) -> WrittenFile:
        """Write one (C, H, W) picture as an 8-bit PNG; values outside [-1, 1] are clipped, non-finite ones refused."""
        written = io.write_picture(path, media)
        return WrittenFile(written, float(media.abs().max()), clipped=float((media.abs() > 1).float().mean()))

    def sheet(self, path: Path, media: Sequence[Tensor], captions: Sequence[str] = ()) -> Path:
        """Draw (C, H, W) pictures as a grid in one PNG; small ones are enlarged by a whole number."""
        return io.save_picture(Path(path), visualize.contact_sheet(media, captions), format="PNG")

    def strip(self, path: Path, rows: Sequence[Sequence[Tensor]], captions: Sequence[str] = ()) -> Path:
        """Draw trajectories as one PNG: a row holds the (C, H, W) pictures of one sample during denoising."""
        return visualize.write_trajectory_grid(Path(path), rows, captions)

    def animate(self, path: Path, frames: Sequence[Sequence[Tensor]], seconds: float = 3.0) -> Path:
        """Draw a trajectory as a looping GIF: a frame holds the (C, H, W) pictures of all samples at one step."""
        return visualize.write_trajectory_gif(Path(path), frames, seconds)
