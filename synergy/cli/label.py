"""`synergy label`: placeholder until train.labels is whole."""

import typer

app = typer.Typer()
