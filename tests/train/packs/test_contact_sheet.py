import cv2
import pytest

from bfm_assets import open_face
from synergy.errors import UserError
from train.packs.contact_sheet import show_pack
from train.packs.rendered import render_pack


def test_sheet_has_a_column_per_sample(tmp_path):
    pack = render_pack(tmp_path / "pack", open_face(), 12, 0, lambda *_: None)
    for worst in (False, True):
        sheet = cv2.imread(str(show_pack(pack, tmp_path / "sheet.png", columns=3, worst=worst)))
        assert sheet.shape[1] == 3 * 240
        assert sheet.std() > 20
    with pytest.raises(UserError, match="cannot write"):
        show_pack(pack, tmp_path / "no folder" / "sheet.png", worst=True)
