"""FD-CMKD in PyTorch: an opponent to race and a second opinion to check against.

Written from the published equations (arXiv 2511.19887) and the layout of pytorch/vision; it shares
nothing with ``fdcmkd_jax`` but the data set's records. ``benchmarks/compare_pytorch.py`` trains
both side by side; ``tests/test_parity.py`` compares them number by number.
"""
