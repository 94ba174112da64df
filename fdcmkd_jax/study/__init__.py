"""Studies: arms and their controls over several seeds, with statistics, tables and a page.

Command: ``python -m fdcmkd_jax.study STUDY_FILE --workdir=DIR``, or ``fdcmkd-jax study ...``; see
its ``--help`` and the folder ``studies/``.
"""

from etils import epy

# Imported when first used, so that --help does not wait for JAX and matplotlib.
with epy.lazy_api_imports(globals()):
    from fdcmkd_jax.study.analysis import Analysis, analyze, verdict
    from fdcmkd_jax.study.cell_config import cells
    from fdcmkd_jax.study.publish import publish
    from fdcmkd_jax.study.reading import read
    from fdcmkd_jax.study.scheduler import status
    from fdcmkd_jax.study.spec import Arm, Cell, Study
    from fdcmkd_jax.study.whole import chosen_cells, run, write

__all__ = [
    "Analysis",
    "Arm",
    "Cell",
    "Study",
    "analyze",
    "cells",
    "chosen_cells",
    "publish",
    "read",
    "run",
    "status",
    "verdict",
    "write",
]
