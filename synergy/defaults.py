"""Default settings that the library and the command line share, without the imports of the library."""

# Detected faces with a lower `Face.confidence` are removed (docs/journal.md, "Uncertainty").
MIN_CONFIDENCE = 0.5
