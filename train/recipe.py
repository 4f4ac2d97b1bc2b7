"""Recipes: the steps from data files to weights. `train.recipe_run` runs them.

A recipe is a YAML file:

    data:                                  optional: SHA-256 of data files; another content is an error before any work
      photos.tar: 0f3a...
    values: {few: ""}                      optional: texts that replace {few}
    scales: {small: {few: --limit 100}}    optional: other values by the name of a scale
    steps:
      labels-{set}:                        one step for each entry of `for`
        for: {photos: --profile, portraits: ""}
        run: label build {data}/{set}.tar --out {out} {few} {more}
      merge:
        run: label merge {labels-*} --out {out}
      rounds:                              steps that are repeated, once for each entry of `repeat`
        repeat: [{round: 1, rate: 3e-3}, {round: 2, rate: 1e-3}]
        steps: {try{round}: {run: train fit ... --model.schedule.rate {rate}}}
      net:
        run: train fit --config synergynet --data.pack {merge} --trainer.default_root_dir {out}
      weights:
        run: train export {net}/checkpoints/last.ckpt --pack {merge} --out {out}/net.safetensors
        results: net.json

`run` is a command of `synergy` without the word `synergy`. It may contain values and, once in each argument,

    {data}      the folder of the data files. `*` in the rest of the argument stands for all files that match
    {out}       the folder of the step, `OUT/NAME`. A step writes to this folder alone
    {STEP}      the folder of an earlier step. `*` in the name stands for all earlier steps that match
    {set}       name of an entry of `for`
    {more}      value of an entry of `for`: further arguments
    {NAME}      value of an entry of `repeat`, which may contain values and may be a part of the name of a step

The inputs of a step are the files and folders that its arguments with `{data}/...` and `{STEP}` name. Files of the
same name with another suffix belong to an archive (`photos.npz` to `photos.tar`). `results` names a JSON file of the
step, whose content is copied into the record.
"""

from __future__ import annotations

import hashlib
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import yaml

from synergy.errors import UserError

RECIPES = Path(__file__).parent / "recipes"

PLACEHOLDER = re.compile(r"\{([\w.*-]+)\}")
"""A placeholder in an argument. Its group is the name."""

_ENTRIES = {"data", "values", "scales", "steps"}


@dataclass(frozen=True)
class Step:
    """One step of a recipe.

    Attributes:
        name: of the step and of its folder.
        arguments: of `synergy`, with placeholders.
        results: JSON file in the folder of the step whose content is recorded; empty for none.
    """

    name: str
    arguments: tuple[str, ...]
    results: str = ""


@dataclass(frozen=True)
class Recipe:
    """The steps from data files to weights.

    Attributes:
        path: the YAML file.
        steps: in their order.
        data: SHA-256 of data files by their path in the data folder.
    """

    path: Path
    steps: tuple[Step, ...]
    data: Mapping[str, str]

    @property
    def digest(self) -> str:
        """SHA-256 of the YAML file."""
        return hashlib.sha256(self.path.read_bytes()).hexdigest()


def read_recipe(name: str, scale: str = "") -> Recipe:
    """Read a recipe.

    Args:
        name: a YAML file, or the name of a recipe in `train/recipes`.
        scale: an entry of the recipe's `scales`; empty for the values of a full run.

    Raises:
        UserError: there is no such recipe, or it is not valid.
    """
    shipped = {path.stem: path for path in sorted(RECIPES.glob("*.yaml"))}
    path = Path(name) if Path(name).is_file() else shipped.get(name)
    if path is None:
        raise UserError(f"{name}: no such file; shipped recipes are {', '.join(shipped)}")
    try:
        content = yaml.safe_load(path.read_text())
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UserError(f"{path}: not a recipe ({' '.join(str(error).split())})") from None
    if not isinstance(content, dict) or not isinstance(content.get("steps"), dict) or set(content) - _ENTRIES:
        raise UserError(f"{path}: not a recipe; it has the entry 'steps', and may have 'data', 'values' and 'scales'")
    scales = _mapping(path, "scales", content.get("scales"))
    if scale and scale not in scales:
        raise UserError(f"{path}: no scale '{scale}'; it has {', '.join(scales) or 'none'}")
    values = _mapping(path, "values", content.get("values")) | _mapping(path, f"scale {scale}", scales.get(scale))
    steps: list[Step] = []
    for step in _all_steps(path, content["steps"], values):
        if step.name in values:
            raise UserError(f"{path}: {step.name} is the name of a step and of a value")
        _check_references(path, step, [earlier.name for earlier in steps])
        steps.append(step)
    return Recipe(path, tuple(steps), _mapping(path, "data", content.get("data")))


def _mapping(path: Path, name: str, content: Any) -> dict[str, Any]:
    """Return an entry of a recipe that may be missing, with texts as its keys.

    Raises:
        UserError: it is no mapping.
    """
    if content is not None and not isinstance(content, dict):
        raise UserError(f"{path}: {name} has lines 'NAME: ...', not {content!r}")
    return {str(key): value for key, value in (content or {}).items()}


def _all_steps(path: Path, content: Any, values: Mapping[str, Any]) -> Iterator[Step]:
    """Return the steps of the entry `steps` of a recipe, or of a group in it."""
    for template, options in _mapping(path, "steps", content).items():
        if not isinstance(options, dict) or "repeat" not in options:
            yield from _steps(path, template, options, values)
            continue
        if set(options) != {"repeat", "steps"} or not isinstance(options["repeat"], list):
            raise UserError(f"{path}: {template} has a list 'repeat' and the entry 'steps', and nothing else")
        for number, texts in enumerate(options["repeat"], 1):
            # These texts may contain values, so they come first. They replace values of the same name.
            more = _mapping(path, f"{template}: entry {number} of 'repeat'", texts)
            yield from _all_steps(path, options["steps"], {**more, **values, **more})


def _steps(path: Path, template: str, options: Any, values: Mapping[str, Any]) -> Iterator[Step]:
    """Return the steps of one entry of a recipe."""
    if not isinstance(options, dict) or "run" not in options or set(options) - {"run", "for", "results"}:
        raise UserError(f"{path}: step {template} has the entry 'run', and may have 'for' and 'results'")
    if not isinstance(options["run"], str):
        raise UserError(f"{path}: step {template}: 'run' is a command, not {options['run']!r}")

    def fill(text: str, texts: Mapping[str, Any]) -> str:
        for name, value in texts.items():
            text = text.replace(f"{{{name}}}", "" if value is None else str(value))
        return text

    variants = _mapping(path, f"step {template}: 'for'", options.get("for")) or {"": ""}
    for name, more in variants.items():
        # {more} may contain values, so it is filled in first.
        texts = {"set": name, "more": more, **values}
        try:
            arguments = tuple(shlex.split(fill(options["run"], texts)))
        except ValueError as error:
            raise UserError(f"{path}: step {template}: {error}") from None
        yield Step(fill(template, texts), arguments, fill(options.get("results", ""), texts))


def _check_references(path: Path, step: Step, earlier: Sequence[str]) -> None:
    if step.name in earlier or PLACEHOLDER.search(step.name):
        raise UserError(f"{path}: there are two steps {step.name}, or its name has a placeholder that is not {{set}}")
    for argument in step.arguments:
        names = PLACEHOLDER.findall(argument)
        if len(names) > 1:
            raise UserError(f"{path}: step {step.name}: '{argument}' has more than one placeholder")
        for name in names:
            if name not in ("data", "out") and not any(fnmatch(known, name) for known in earlier):
                raise UserError(f"{path}: step {step.name} uses {{{name}}}, which is not an earlier step")
