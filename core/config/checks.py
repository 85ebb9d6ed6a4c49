"""Checks across the sections of a recipe, which no single key can fail on its own."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from ..util import messages
from ..util.errors import BadInput
from . import registry
from .components import build_if_cheap
from .sections import SampleSection, TrainSection
from .spec import ComponentSpec
from .tree import ConfigNode, ConfigProblem, SourcePosition
from .trust import TrustLevel


def find_contradictions(root: ConfigNode, good: Mapping[str, Any], problems: list[ConfigProblem]) -> None:
    """Find contradictions between sections.

    Args:
        root: The tree of the recipe.
        good: Top-level key -> value, for the sections that are valid.
        problems: List that problems are appended to.
    """
    check = _Check(root, good, problems)
    if "name" in good:
        check.name(good["name"])
    if "train" in good:
        check.length_of_training(good["train"])
    if "modality" in good:
        check.modality(good["modality"])
    if "conditioning" in good:
        check.conditioning(good["conditioning"], good.get("sample"))
    if "conditioning" in good and "network" in good:
        check.accepted(good["conditioning"], good["network"])
    if "sample" in good and "conditioning" in good:
        check.guidance(good["sample"].guidance, good["conditioning"])
    if "process" in good:
        check.levels(good.get("sample"))


class _Check:
    def __init__(self, root: ConfigNode, good: Mapping[str, Any], problems: list[ConfigProblem]):
        self.root, self.good, self.problems = root, good, problems

    def problem(self, path: str, message: str, at: SourcePosition | None = None) -> None:
        self.problems.append(ConfigProblem(at or self.place(path), path, message))

    def place(self, path: str) -> SourcePosition:
        """Position of a key, or of the deepest section above it that the recipe contains."""
        node, _ = self.root.nearest(path.split("."))
        return node.key or node.mark

    def name(self, name: str) -> None:
        """Check that the name can be a folder's name: a run folder is named after it."""
        plain = name == name.strip() and name not in ("", ".", "..") and not re.search(r"[/\\\x00-\x1f\x7f]", name)
        if "name" in self.root.value and not plain:
            remedy = "write one plain name without / or \\, such as my-model; --out puts a run elsewhere"
            self.problem("name", f"{name!r} cannot name a run folder: {remedy}")

    def length_of_training(self, train: TrainSection) -> None:
        if train.accumulate > train.batch:
            self.problem("train.accumulate", f"a batch of {train.batch} cannot be split into {train.accumulate} parts")
        if train.steps is None and train.minutes is None:
            self.problem("train", "needs train.steps or train.minutes: how long to train")
        elif train.steps is not None and train.minutes is not None:
            self.problem("train.minutes", "give train.steps or train.minutes, not both; set one to null")

    def modality(self, modality: ComponentSpec) -> None:
        built_in = set(registry.builtin_files("modality"))
        if modality.use not in built_in:
            return
        sample = self.good.get("sample")
        named = {section: self.good.get(section) for section in ("data", "codec", "network")}
        named["sample.output"] = None if sample is None else sample.output
        for section, spec in named.items():
            prefix, _, rest = ("", "", "") if spec is None else spec.use.partition("/")
            if spec is None or prefix not in built_in - {modality.use} or registry.is_code_reference(spec.use):
                continue
            same = f"{modality.use}/{rest}"
            hint = f"; did you mean {same!r}?" if same in registry.component_names(spec.kind) else ""
            message = f"{spec.use!r} is for modality {prefix}, and this recipe's is {modality.use}{hint}"
            self.problem(f"{section}.use", message)

    def conditioning(self, conditioning: dict[str, ComponentSpec], sample: SampleSection | None) -> None:
        from torch.nn import ModuleDict  # the conditions of a model

        for name in conditioning:
            if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name):
                self.problem(f"conditioning.{name}", "a condition's name is letters, digits and _")
            elif hasattr(ModuleDict, name) or name == "training":
                remedy = f"choose another, such as {name}_"
                self.problem(f"conditioning.{name}", f"a condition cannot be called {name}, a word of torch: {remedy}")
        for name, value in sample.conditions.items() if sample is not None else ():
            if name not in conditioning:
                removed, whole = self.root.nearest(["conditioning", name])
                if value is None and whole and removed.value is None:
                    continue  # the recipe removes the condition together with its value
                near = messages.did_you_mean(name, conditioning) or "."
                known = f" This recipe's conditions: {', '.join(conditioning) or 'none'}"
                remedy = f". sample.conditions.{name}=null removes this value too" if whole else ""
                self.problem(f"sample.conditions.{name}", f"is not a condition of this recipe{near}{known}{remedy}")
            elif self.root.nearest(["sample", "conditions", name])[0].mark.trust < TrustLevel.PATHS and getattr(
                registry.find_class("condition", conditioning[name].use), "reads_files", False
            ):
                path = f"sample.conditions.{name}"
                self.problem(path, f"is a path in the recipe of a run made elsewhere: give {path}=PATH again, or null")
        if sample is not None and "label" not in conditioning and sample.label not in (None, "cycle"):
            remedy = "add `conditioning: {label: class}`, or leave sample.label out"
            self.problem("sample.label", f"this recipe has no condition 'label': {remedy}")

        if sample is not None and sample.conditions.get("label") is not None and sample.label not in (None, "cycle"):
            self.problem("sample.label", "sample.conditions.label says the same: give one of them")

    def accepted(self, conditioning: dict[str, ComponentSpec], network: ComponentSpec) -> None:
        """Check by their classes that the network accepts the kinds of the conditions; nothing is built."""
        from ..conditioning.base import explain_condition_mismatch  # loads torch

        cls = registry.find_class("network", network.use)
        if not isinstance(getattr(cls, "accepts", None), Collection):  # a constructor may set it
            return
        for name, spec in conditioning.items():
            if message := explain_condition_mismatch(cls, registry.find_class("condition", spec.use), network.params):
                self.problem(f"conditioning.{name}", f"{message} (conditioning.{name}=null)")
        if self.root.mark.stored:  # a run that exists stays usable
            return
        kinds = {
            getattr(registry.find_class("condition", spec.use), "kind", "vector") for spec in conditioning.values()
        }
        for kind, (option, _) in getattr(cls, "kinds_by_option", {}).items():
            if network.params.get(option) and kind not in kinds:
                none = "false" if network.params[option] is True else "[]"
                remedy = f"add one, or leave it out (network.{option}={none})"
                message = f"is for conditions that yield {kind}, and this recipe has none, so it would not be trained"
                self.problem(f"network.{option}", f"{message}: {remedy}")

    def guidance(
        self, guidance: ComponentSpec | list[ComponentSpec] | None, conditioning: dict[str, ComponentSpec]
    ) -> None:
        if guidance is None:
            return
        from ..guidance.base import GuidanceChain  # loads torch

        specs = guidance if isinstance(guidance, list) else [guidance]
        parts = [part for part in map(build_if_cheap, specs) if part is not None]
        if not conditioning and any(part.needs_condition for part in parts):
            remedy = "set sample.guidance=null, or add one, such as `conditioning: {label: class}`"
            self.problem("sample.guidance", f"guidance strengthens a condition, and this recipe has none: {remedy}")
            return
        try:
            GuidanceChain(parts).check(conditioning)
        except BadInput as error:
            self.problem("sample.guidance", str(error))

    def levels(self, sample: SampleSection | None) -> None:
        """Compute the noise levels of sampling, so that errors are reported now and not at the first preview."""
        process = self.good["process"]
        schedule, parameterization = build_if_cheap(process.schedule), build_if_cheap(process.parameterization)
        try:
            if schedule is not None and parameterization is not None:
                parameterization.check(schedule.level(schedule.t_max))
        except BadInput as error:
            self.problem("process.parameterization", str(error))
        timesteps = build_if_cheap(sample.timesteps) if sample is not None and sample.steps <= 10_000 else None
        try:
            if schedule is not None and sample is not None and timesteps is not None:
                timesteps.levels(schedule, sample.steps)
        except BadInput as error:
            self.problem("sample.timesteps", str(error))
