from pathlib import Path

from synergy.data import PtsReader


def test_the_tar_of_real_crops(shared_data: Path) -> None:
    reader = PtsReader(shared_data / "helen_test.tar")
    assert len(reader) == 330
    sample = reader.read(0)
    assert sample.image.shape == (308, 308, 3)
    assert sample.landmarks68.shape == (68, 2)
    assert 0 < sample.landmarks68.min() < sample.landmarks68.max() < 308
    assert sum(1 for _ in reader.samples(image=False)) == 330
    assert reader.problems == []
