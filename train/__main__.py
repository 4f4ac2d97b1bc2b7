"""See `train.cli`."""

from train.cli import main

main()
