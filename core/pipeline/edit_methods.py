"""The edits of a trained run, as its methods."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from . import edit_files as tasks
from . import edit_morph as between

if TYPE_CHECKING:
    from .pipeline import Pipeline
    from .result import Samples

Files = str | Path | Sequence[str | Path]


class Editing:
    """What a Pipeline makes from files: read as training reads them, given back at their own level.

    Beside its own arguments each method takes the keys of the recipe's `sample` section (steps, seed, guidance, loop,
    windows, ...); `seconds` takes the beginning of a sound. A file is told the class that its folder names, or `label`.
    """

    def vary(
        self, files: Files, strength: float = 0.5, count: int = 1, progress: bool = False, **changes: Any
    ) -> Samples:
        """`count` variations of each file: noise on it, then the usual way down.

        strength: 0 gives back what the codec keeps of the file, 1 samples that know nothing of it
        count:    of each file; variation i starts from the noise of sample i of the seed, whatever the file

        Raises BadInput for files that cannot be read and keys that do not exist.
        """
        return tasks.vary(cast("Pipeline", self), files, strength, count, progress, **changes)

    def inpaint(
        self,
        files: Files,
        spans: Sequence[tuple[float, float]] = (),
        box: Sequence[int] | None = None,
        mask: str | Path | None = None,
        count: int = 1,
        walks: int | None = None,
        jump: int = 4,
        progress: bool = False,
        **changes: Any,
    ) -> Samples:
        """Parts of each file made anew; the rest comes back exactly.

        spans: the parts of a sound, (from, to) in seconds
        box:   the part of a picture, [left, top, right, bottom] in pixels; or
        mask:  a picture that is white where it is to be made anew
        walks: how often each stretch of `jump` steps is walked, up and down again; more fits the known part better and
               takes as many times as long; None: 4, or 1 for a network trained on levels that differ within a sample
        """
        return tasks.inpaint(cast("Pipeline", self), files, spans, box, mask, count, walks, jump, progress, **changes)

    def extend(
        self,
        files: Files,
        seconds: float = 1.0,
        count: int = 1,
        walks: int | None = None,
        jump: int = 4,
        progress: bool = False,
        **changes: Any,
    ) -> Samples:
        """Sounds that go on for `seconds` where each file ends; the file itself comes back exactly."""
        return tasks.extend(cast("Pipeline", self), files, seconds, count, walks, jump, progress, **changes)

    def morph(self, a: str | Path, b: str | Path, count: int = 5, progress: bool = False, **changes: Any) -> Samples:
        """`count` steps from a to b, both ends included.

        Files: each is followed up to its noise by the ODE, and the way down starts on the arc between the two (Heun's
        method and no guidance unless asked for). Names of classes: one start, told mixtures of the two.
        """
        return between.morph(cast("Pipeline", self), a, b, count, progress, **changes)
