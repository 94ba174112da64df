"""A prepared set of a few clips."""

import pytest
from clip_files import make_clips, write_rows

from fdcmkd_jax.data.crema_d import CREMA_D, EMOTIONS


@pytest.fixture(scope="session")
def tree(tmp_path_factory):
    """Twelve training and three test clips in CREMA-D's layout, none defective."""
    folder = tmp_path_factory.mktemp("tree")
    rows = [f"{1001 + i // 6}_IEO_{e}_XX,{e}" for i, e in enumerate([*EMOTIONS, *EMOTIONS])]
    write_rows(folder, train=rows, test=[f"1003_IEO_{e}_XX,{e}" for e in EMOTIONS[:3]])
    make_clips(CREMA_D, folder)
    return folder
