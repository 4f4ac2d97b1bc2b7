"""Default settings that the library and the command line share, without the imports of the library."""

# Detected faces with a lower `Face.confidence` are removed (docs/journal.md, "Uncertainty").
MIN_CONFIDENCE = 0.5

# Lowest score of the detector that counts as a face.
THRESHOLD = 0.35

# Images and video frames with more pixels are refused before they are decoded. 200 megapixels are the largest photos
# of telephones (16320 x 12240); such an image takes 600 MB in memory.
MAX_PIXELS = 200_000_000

# Faces of fewer image pixels (longer side) are not found, however much the image is enlarged.
LEAST_MIN_FACE = 10
