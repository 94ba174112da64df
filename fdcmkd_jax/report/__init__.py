"""The report of a run: one self-contained HTML page.

``python -m fdcmkd_jax.report WORKDIR``, or ``fdcmkd-jax report WORKDIR``, writes the page of a
finished run again.
"""

from etils import epy

# Imported when first used, so that --help does not wait for JAX and matplotlib.
with epy.lazy_api_imports(globals()):
    from fdcmkd_jax.report.page import FILE_NAME, write
    from fdcmkd_jax.report.run import RunError

__all__ = ["FILE_NAME", "RunError", "write"]
