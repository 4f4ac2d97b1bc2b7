"""Places of faces in an image, and what a drawing has changed."""

PLACES = [
    # height of the landmarks, centre; the image has 260 x 300 pixels
    (100, (150, 120)),
    (180, (30, 20)),  # partly outside on the left and above
    (180, (290, 250)),  # partly outside on the right and below
    (900, (150, 100)),  # larger than the image
    (12, (150, 100)),
    (100, (900, 900)),  # outside
]


def changed(picture, before):
    """Return which pixels (H, W) differ."""
    return (picture != before).any(-1)
