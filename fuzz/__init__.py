"""Coverage-guided fuzzing of every reader of files: `make fuzz`. `fuzz.targets` has the table of the targets."""
