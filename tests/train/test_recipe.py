"""Recipes: wrong files, values, scales, repeated steps, and the shipped recipes."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from synergy.cli import app
from synergy.errors import UserError
from train.recipe import RECIPES, read_recipe
from train.recipe_run import RecipeRun

CONFIGS = RECIPES.parent / "configs"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("steps: [", "not a recipe"),
        ("step: {}", "not a recipe; it has the entry 'steps'"),
        ("steps: {a: {ran: x}}", "step a has the entry 'run'"),
        ("steps: {a: {run: 'x {b}'}, b: {run: y}}", r"step a uses \{b\}, which is not an earlier step"),
        ('steps: {a: {run: "x \'"}}', "step a: No closing quotation"),
        ("values: {a: x}\nsteps: {a: {run: x}}", "a is the name of a step and of a value"),
        ("steps: {'a-{sort}': {run: x}}", "a placeholder that is not"),
        ("steps: {a: {run: [x, y]}}", "step a: 'run' is a command, not"),
        ("steps: {a: {run: x, for: [b, c]}}", "step a: 'for' has lines 'NAME: ...', not"),
        ("steps: {a: {run: x}, b: {run: x}, c: {run: '{a}/{b}'}}", "'{a}/{b}' has more than one placeholder"),
        ("values: [a]\nsteps: {a: {run: x}}", "values has lines 'NAME: ...', not"),
        ("steps: {a: {repeat: [{n: 1}], run: x}}", "a has a list 'repeat' and the entry 'steps'"),
        ("steps: {a: {repeat: {n: 1}, steps: {b: {run: x}}}}", "a has a list 'repeat' and the entry 'steps'"),
        ("steps: {a: {repeat: [1], steps: {b: {run: x}}}}", "a: entry 1 of 'repeat' has lines 'NAME: ...', not 1"),
        ("steps: {a: {repeat: [{n: 1}, {n: 2}], steps: {b: {run: x}}}}", "there are two steps b"),
        ("steps: {a: {repeat: [{n: 1}]}}", "a has a list 'repeat' and the entry 'steps'"),
    ],
)
def test_a_wrong_recipe_is_one_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=message) as caught:
        read_recipe(str(path))
    assert "\n" not in str(caught.value)


def test_a_scale_replaces_values(tmp_path: Path) -> None:
    path = tmp_path / "scales.yaml"
    path.write_text("values: {few: ''}\nscales: {small: {few: --limit 8}}\nsteps: {a: {run: 'fit {few}'}}")
    assert read_recipe(str(path)).steps[0].arguments == ("fit",)
    assert read_recipe(str(path), "small").steps[0].arguments == ("fit", "--limit", "8")
    with pytest.raises(UserError, match="no scale 'tiny'; it has small"):
        read_recipe(str(path), "tiny")


def test_values_may_be_zero_or_nothing_and_names_may_be_numbers(tmp_path: Path) -> None:
    path = tmp_path / "numbers.yaml"
    path.write_text(
        "values: {seed: 0, few: }\nsteps: {'net-{set}': {for: {1: 0.0}, run: 'fit --seed {seed} {few} {more}'}}"
    )
    (step,) = read_recipe(str(path)).steps
    assert step.name == "net-1"
    assert step.arguments == ("fit", "--seed", "0", "0.0")


def test_steps_are_repeated_in_their_order_with_other_texts(tmp_path: Path) -> None:
    path = tmp_path / "rounds.yaml"
    path.write_text("""
values: {limit1: --short, limit2: --long}
scales: {small: {limit2: --tiny}}
steps:
  net0: {run: "fit --out {out}"}
  rounds:
    repeat: [{n: 1, last: 0, rate: "0.1 {limit1}"}, {n: 2, last: 1, rate: "0.2 {limit2}"}]
    steps:
      labels{n}-{set}: {for: {a: --left, b: }, run: "label {net{last}} {more}"}
      net{n}: {run: "fit {labels{n}-*} {limit{n}} --rate {rate}"}
  end: {run: "export {net2}"}
""")
    commands = {step.name: " ".join(step.arguments) for step in read_recipe(str(path)).steps}
    assert list(commands.items()) == [
        ("net0", "fit --out {out}"),
        ("labels1-a", "label {net0} --left"),
        ("labels1-b", "label {net0}"),
        ("net1", "fit {labels1-*} --short --rate 0.1 --short"),
        ("labels2-a", "label {net1} --left"),
        ("labels2-b", "label {net1}"),
        ("net2", "fit {labels2-*} --long --rate 0.2 --long"),
        ("end", "export {net2}"),
    ]
    assert "--tiny" in read_recipe(str(path), "small").steps[6].arguments


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_recipes_are_valid_commands(path: Path, tmp_path: Path) -> None:
    recipe = read_recipe(path.stem)
    lines: list[str] = []
    RecipeRun(recipe, tmp_path, tmp_path / "out", lambda _: None, lines.append).show()
    assert len(lines) == len(recipe.steps)
    for command in {step.arguments[:2] for step in recipe.steps}:
        assert CliRunner().invoke(app, [*command, "--help"]).exit_code == 0, command
    for step in recipe.steps:
        if step.arguments[:2] == ("train", "fit"):
            assert (CONFIGS / f"{step.arguments[step.arguments.index('--config') + 1]}.yaml").is_file()
    with pytest.raises(UserError, match=r"none: no such file; shipped recipes are .*cpu"):
        read_recipe("none")


def test_both_recipes_leave_the_same_sources_out_of_the_uncertainty() -> None:
    for name in ("cpu", "gpu"):
        steps = {step.name: step.arguments for step in read_recipe(name).steps}
        for step in ("uncertainty-default", "uncertainty-small"):
            weights = steps[step][steps[step].index("--data.sampling_weights") + 1]
            assert yaml.safe_load(weights) == {"cfp_train": 0, "aflw_train+profile": 0, "helen_afw_train+profile": 0}


# Rendered faces, two short runs of a small network and an export. 12 steps of 8 images of 32 px take about a second.
