"""From the settings of a request to a call of a pipeline; what a client must not name is refused here."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..config.recipe import Recipe
from ..pipeline.pipeline import Pipeline
from ..pipeline.result import Samples
from ..util.errors import BadInput
from .commands import PipelineCall
from .items import ItemStore
from .job_requests import EditSettings, JobPart, SampleSettings, parts_of
from .limits import RequestRefused, StudioLimits
from .model_cache import ModelCache


class CallBuilder:
    """Makes calls of pipelines from requests.

    Args:
        models: The models.
        items: The items that edits and references name.
        limits: Bounds of requests.
    """

    def __init__(self, models: ModelCache, items: ItemStore, limits: StudioLimits):
        self.models, self.items, self.limits = models, items, limits

    def parts(self, body: Any) -> list[JobPart]:
        """The parts of a request, each of which could be started now.

        Raises:
            BadInput: A setting is not valid.
        """
        parts = parts_of(body, self.limits)
        total = 0
        for part in parts:
            pipeline = self.models.pipeline(part.settings.model, part.settings.checkpoint)
            total += self.count(pipeline, part.settings, self.call(pipeline, part.settings))
            if total > self.limits.count:
                raise BadInput(f"a job makes at most {self.limits.count} samples: lower count, or take fewer cells")
        self.items.check_room(total)
        return parts

    def call(self, pipeline: Pipeline, settings: SampleSettings) -> PipelineCall:
        """The call for some settings, which are checked; nothing is sampled.

        Raises:
            BadInput: A setting is not valid, or names a path.
        """
        changes = settings.changes(pipeline.recipe)
        for key in list(changes):
            changes[key] = self._with_files(pipeline, key, changes[key])
        recipe = pipeline.recipe_with(changes)
        _refuse_paths(recipe, pipeline.recipe)
        place = self.models.place(settings.model)
        if settings.checkpoint is not None:
            place = self.models.checkpoint(settings.model, settings.checkpoint)
        if not isinstance(settings, EditSettings):
            return PipelineCall(str(place), changes=changes, trajectory=settings.trajectory)
        return PipelineCall(
            str(place), settings.edit, self._inputs(settings), self._options(pipeline, settings), changes
        )

    def _inputs(self, settings: EditSettings) -> list[Path]:
        if settings.edit == "morph" and len(settings.inputs) != 2:
            raise BadInput("a morph goes from one file to another: give two inputs")
        return [self.items.file(self.items.get(one)) for one in settings.inputs]

    def _options(self, pipeline: Pipeline, settings: EditSettings) -> dict[str, Any]:
        options = settings.options()
        if settings.mask is not None:
            options["mask"] = self.items.file(self.items.get(settings.mask))
        conditions: Any = pipeline.model.conditions
        if "source" in options and any(one.reads_files for name, one in conditions.items() if name == "label"):
            raise BadInput("source cannot be given for this model, whose label is a file")
        return options

    def _with_files(self, pipeline: Pipeline, key: str, value: Any) -> Any:
        """A value in which items stand as files, if its condition is given by a file."""
        name = key.removeprefix("conditions.")
        conditions: Mapping[str, Any] = dict(pipeline.model.conditions.items())
        if name not in conditions or not conditions[name].reads_files or value is None:
            return value
        values = value if isinstance(value, list) else [value]
        if not all(isinstance(one, str) for one in values):
            raise BadInput(f"{name} is given by the number of an item: upload a file first")
        files = [str(self.items.file(self.items.get(one))) for one in values]
        return files if isinstance(value, list) else files[0]

    def count(self, pipeline: Pipeline, settings: SampleSettings, call: PipelineCall) -> int:
        """The number of samples of a call."""
        if call.edit is None:
            prompts = call.changes.get("prompt")
            least = len(prompts) if isinstance(prompts, list) else 1
            return max(least, settings.count or pipeline.recipe.sample.count)
        each = int(call.options.get("count", 5 if call.edit == "morph" else 1))
        return each if call.edit == "morph" else each * len(call.files)


def run_call(pipeline: Pipeline, call: PipelineCall) -> Samples:
    """Run a call."""
    options, changes = dict(call.options), dict(call.changes)
    if call.edit is None:
        return pipeline.sample(changes.pop("prompt", None), trajectory=call.trajectory, **changes)
    files: list[Any] = list(call.files)
    if call.edit == "morph":
        return pipeline.morph(*files, **options, **changes)
    if call.edit == "reprompt":
        return pipeline.reprompt(files, changes.pop("prompt", None), **options, **changes)
    method = getattr(pipeline, {"continue": "extend"}.get(call.edit, call.edit))
    return method(files, **options, **changes)


def _refuse_paths(recipe: Recipe, before: Recipe) -> None:
    """Raise RequestRefused if changes name paths: of files, clients may name items only."""
    known = before.paths().items()
    if new := [key for key, path in recipe.paths().items() if (key, path) not in known]:
        raise RequestRefused(403, f"{new[0]} is a path, and the studio reads the files of its items only")
