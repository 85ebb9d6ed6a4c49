"""What the page needs to know of a model to offer its settings."""

from __future__ import annotations

import re
from typing import Any

from ..config import registry
from ..config.spec import to_plain_values
from ..pipeline.examples import find_references
from ..pipeline.pipeline import Pipeline
from ..training.model_card import read_card
from ..training.packaged_models import packaged_models
from .items import media_type_of
from .model_cache import ModelCache

_STEP = re.compile(r"step-(\d+)")


def describe_model(models: ModelCache, name: str) -> dict[str, Any]:
    """The entries of `GET /api/models/NAME`; loads the model."""
    pipeline = models.pipeline(name)
    recipe, spec, section = pipeline.recipe, pipeline.context.spec, pipeline.recipe.sample
    modality: Any = pipeline.components.modality
    prompts = section.prompt if isinstance(section.prompt, list) else [section.prompt] if section.prompt else []
    trained = None if spec.rate is None or spec.length is None else spec.length / spec.rate
    positions = bool(getattr(pipeline.model.network, "positions", 0))
    return {
        "name": name,
        "about": recipe.about or "",
        "step": pipeline.step,
        "modality": spec.modality,
        "axes": list(spec.axes),
        "rate": spec.rate,
        "size": list(spec.size),
        "channels": spec.channels,
        "media_type": media_type_of(f"x{modality.suffix}"),
        "classes": list(pipeline.classes),
        "conditions": [_describe_condition(pipeline, one) for one in pipeline.model.conditions],
        "defaults": {
            "use": recipe.sampler.use,
            "timesteps": section.timesteps.use,
            "steps": section.steps,
            "guidance": to_plain_values(section.guidance),
            "count": section.count,
            "seconds": trained,
            "windows": section.windows,
            "size": [spec.size[axis] for axis in spec.other_axes],
            "seed": recipe.sample_seed,
        },
        "samplers": registry.component_names("sampler"),
        "timesteps": registry.component_names("timesteps"),
        "guidances": registry.component_names("guidance"),
        "edits": possible_edits(pipeline),
        "operators": registry.component_names("degradation"),
        "seconds_max": trained if positions else None,
        "takes_windows": not positions,
        "few_steps": sorted(pipeline.plans),
        "examples": prompts or _examples(name),
        "checkpoints": [
            {"name": one, "step": int(match[1]) if (match := _STEP.search(one)) else None}
            for one in models.checkpoints(name)
        ],
    }


def possible_edits(pipeline: Pipeline) -> list[str]:
    """The edits that the model can make."""
    spec, conditions = pipeline.context.spec, pipeline.model.conditions
    references = find_references(pipeline.model).values()
    only_restores = any(one.drop == 0 for one in references)
    has_text = any(getattr(one, "accepts_prompts", False) for one in conditions.values())
    found = {
        "vary": not only_restores,
        "inpaint": spec.rate is not None or len(spec.axes) == 2,
        "continue": spec.rate is not None,
        "restore": any(not one.degradation.masks for one in references),
        "morph": not only_restores,
        "reprompt": has_text or "label" in conditions,
        "recover": not only_restores,
    }
    return [edit for edit, possible in found.items() if possible]


def _describe_condition(pipeline: Pipeline, name: str) -> dict[str, Any]:
    condition: Any = pipeline.model.conditions[name]
    kind = pipeline.recipe.conditioning[name].use
    facts: dict[str, Any] = {"name": name, "kind": kind, "takes_item": bool(condition.reads_files)}
    values = condition.choices() or getattr(condition, "values", ())
    if values:
        facts["values"] = [str(value) for value in values]
    if kind == "scalar":
        facts |= {"range": [condition.low, condition.high], "log": condition.log}
    return facts


def _examples(name: str) -> list[str]:
    folder = packaged_models().get(name)
    return [] if folder is None else [one for one in read_card(folder).examples if "=" not in one]
