"""The training pack: its format, and what reads and writes it."""
