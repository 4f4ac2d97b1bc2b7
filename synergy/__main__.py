"""`python -m synergy`: the `synergy` command."""

from synergy.cli import main

main()
