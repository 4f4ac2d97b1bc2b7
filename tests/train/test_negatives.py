import pytest
import torch

from train import negatives
from train.negatives import make_negatives


@pytest.fixture
def image():
    torch.manual_seed(0)
    return torch.randint(0, 256, (6, 3, 120, 120), dtype=torch.uint8)


@pytest.mark.parametrize("size", [120, 96])
def test_negatives_are_images_of_the_size_of_the_input(image, size):
    made = make_negatives(image, 40, size)
    assert made.shape == (40, 3, size, size)
    assert made.isfinite().all()
    assert made.min() >= 0
    assert made.max() <= 255


def test_negatives_follow_from_the_seed(image):
    torch.manual_seed(3)
    first = make_negatives(image, 20, 120)
    torch.manual_seed(3)
    assert torch.equal(make_negatives(image, 20, 120), first)
    assert not torch.equal(make_negatives(image, 20, 120), first)


def face_like(count=30):
    """White squares where the box of a face is, on black."""
    image = torch.zeros(count, 3, 120, 120)
    image[:, :, 18:102, 18:102] = 255
    return image


@pytest.mark.parametrize(
    ("maker", "largest"),
    # A face covers 0.49 of its crop. A shifted one may cover a part of it, and its middle is never in the middle.
    [(negatives._shifted, 0.65), (negatives._small, 0.12)],
)
def test_no_face_of_the_right_size_is_left_in_the_middle(maker, largest):
    torch.manual_seed(0)
    made = maker(face_like(), torch.zeros(30, 3, 120, 120))
    assert (made > 128).float().mean((1, 2, 3)).max() < largest


def test_shifted_faces_are_off_the_middle():
    torch.manual_seed(0)
    made = negatives._shifted(face_like(), torch.zeros(30, 3, 120, 120))[:, 0] > 128
    ticks = torch.arange(120) - 59.5
    mass = made.sum((1, 2)).clamp_min(1)
    middle = torch.stack([(made.sum(1) * ticks).sum(1), (made.sum(2) * ticks).sum(1)], -1) / mass[:, None]
    assert (middle.norm(dim=-1)[made.any(-1).any(-1)] > 20).all()


def test_a_part_fills_the_crop_with_a_part():
    torch.manual_seed(0)
    ramp = torch.linspace(0, 255, 120).expand(30, 3, 120, 120)
    made = negatives._part(ramp, torch.full((30, 3, 120, 120), 128.0))
    assert (made.amax((1, 2, 3)) - made.amin((1, 2, 3)) < 0.85 * 255).all()


def test_tiles_keep_the_pixels_but_not_their_places(image):
    torch.manual_seed(0)
    ramp = torch.linspace(0, 255, 120).expand(8, 3, 120, 120)
    made = negatives._tiles(ramp, ramp)
    torch.testing.assert_close(made.mean((1, 2, 3)), ramp.mean((1, 2, 3)), atol=1.0, rtol=0)
    assert (made - ramp).abs().mean() > 20


def test_blobs_have_no_detail(image):
    torch.manual_seed(0)
    made = negatives._blobs(image.float(), torch.zeros(6, 3, 120, 120))
    assert (made[..., 1:] - made[..., :-1]).abs().max() < 40
