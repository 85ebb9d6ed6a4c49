"""Names of the first edition, readable for one release: recipe keys, component names, kinds of component.

Applied to a parsed tree before it is merged and validated. One note per recipe lists what was renamed.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from ..util.notes import issue_note
from .tree import ConfigNode, ConfigProblem

# old path -> new path
KEYS = {
    "process.prediction": "process.parameterization",
    "process.clock": "process.noise_conditioning",
    "process.loss": "objective.loss_space",
    "process.times": "objective.timestep_sampling",
    "process.weighting": "objective.weighting",
    "process.per_element": "objective.per_element",
    "condition": "conditioning",
    "sample.spacing": "sample.timesteps",
    "sample.where": "sample.conditions",
    "eval.most": "eval.real_examples",
    "eval.novelty": "eval.memorization",
    "eval.shown": "eval.page_samples",
    "eval.embed": "eval.page_megabytes",
}

# old kind of component -> new kind
KINDS = {
    "spacing": "timesteps",
    "prediction": "parameterization",
    "clock": "noise_conditioning",
    "times": "timestep_sampling",
    "operator": "degradation",
}

# kind -> old component -> new component
COMPONENTS = {
    "guidance": {"several": "composed"},
    "condition": {"number": "scalar"},
    "degradation": {"mix": "channel_mean"},
}

# old parameter of a component -> new parameter; counts where a constructor has the new one and not the old
PARAMETERS = {"spacing": "timesteps", "prediction": "parameterization", "clock": "noise_conditioning"}


def rename_old_keys(root: ConfigNode, renamed: dict[str, str], problems: list[ConfigProblem]) -> None:
    """Move old keys of a recipe's tree to their new places.

    Args:
        root: the tree of one file, or of the command line; changed in place.
        renamed: old path -> new path of what was found is added here.
        problems: a key that is given by its old and its new name is added here.
    """
    if not root.is_map:
        return
    for old, new in KEYS.items():
        *above, last = old.split(".")
        section = root.get(*above)
        if section is None or not section.is_map or last not in section.value:
            continue
        node = section.value.pop(last)
        if root.get(*new.split(".")) is not None:
            message = f"is the old name of {new}, which is given too: remove one of them"
            problems.append(ConfigProblem(node.key or node.mark, old, message))
            continue
        renamed[old] = new
        *above, last = new.split(".")
        at = root
        for name in above:
            at = at.value.setdefault(name, ConfigNode({}, node.mark, node.key))
            if not at.is_map:  # `objective: denoising`, a bare name; or a heading with nothing under it
                at.value = {} if at.value is None else {"use": replace(at)}
        at.value[last] = node
    process = root.get("process")
    if process is not None and process.value == {} and renamed:
        del root.value["process"]


def upgrade_key_name(section: str, key: str) -> str:
    """Today's name of the key of a section that a change `key` or `section.key` or `key.sub` names."""
    path = f"{section}.{key.strip().removeprefix(f'{section}.').partition('.')[0]}"
    return KEYS.get(path, path).removeprefix(f"{section}.")


def upgrade_component_name(kind: str, name: str, known: Collection[str], renamed: dict[str, str]) -> str:
    """A component's name of today."""
    new = COMPONENTS.get(kind, {}).get(name)
    if new is None or name in known or new not in known:
        return name
    renamed[f"{kind} {name}"] = new
    return new


def upgrade_guidance(value: Any) -> Any:
    """A guidance as plain values, with the component names of today."""
    if isinstance(value, list):
        return [upgrade_guidance(each) for each in value]
    if not isinstance(value, dict):
        return value
    new = COMPONENTS["guidance"]
    return {k: new.get(v, v) if k == "use" and isinstance(v, str) else upgrade_guidance(v) for k, v in value.items()}


def upgrade_parameter_name(name: str, known: Collection[str], renamed: dict[str, str]) -> str:
    """A constructor's parameter of today."""
    new = PARAMETERS.get(name)
    if new is None or name in known or new not in known:
        return name
    renamed[name] = new
    return new


def upgrade_kind_name(kind: str) -> str:
    """A kind's name of today."""
    return KINDS.get(kind, kind)


def old_kind_names(kind: str) -> list[str]:
    """The names that a kind had."""
    return [old for old, new in KINDS.items() if new == kind]


def warn_of_old_names(source: str, renamed: Mapping[str, str]) -> None:
    """Tell in one line what a recipe should be changed to; nothing where it has no old names."""
    if renamed:
        listed = ", ".join(f"{old} is now {new}" for old, new in renamed.items())
        issue_note(
            f"{source} has names of the first edition, which the next release will refuse: {listed}", stacklevel=2
        )
