"""Classes of NYU-Depth V2: 894 raw names to 40 classes, and these to 13.

Source: the mapping of Gupta et al., CVPR 2013 (``classMapping40.mat``), and ``class13Mapping.mat``.
"""

import numpy as np
from jaxtyping import UInt8

NUM_RAW = 894

CLASSES_40 = (
    *("wall", "floor", "cabinet", "bed", "chair", "sofa", "table", "door", "window", "bookshelf"),
    *("picture", "counter", "blinds", "desk", "shelves", "curtain", "dresser", "pillow", "mirror"),
    *("floor mat", "clothes", "ceiling", "books", "refridgerator", "television", "paper", "towel"),
    *("shower curtain", "box", "whiteboard", "person", "night stand", "toilet", "sink", "lamp"),
    *("bathtub", "bag", "otherstructure", "otherfurniture", "otherprop"),
)
CLASSES_13 = (
    *("bed", "books", "ceiling", "chair", "floor", "furniture", "objects", "picture", "sofa"),
    *("table", "tv", "wall", "window"),
)

TO_13 = tuple(
    number - 1
    for number in (
        *(12, 5, 6, 1, 4, 9, 10, 12, 13, 6, 8, 6, 13, 10, 6, 13, 6, 7, 7, 5),
        *(7, 3, 2, 6, 11, 7, 7, 7, 7, 7, 7, 6, 7, 7, 7, 7, 7, 6, 7, 7),
    )
)
"""The class among 13 of each class among 40, both from 0."""

# Raw names that are a class of their own, in the order of the classes 1 to 37.
_SINGLE = """
21 11 3 157 5 83 19 28 59 88 64 7 80 36 42 89 169 119 122 143 141 4 85 17 172 15 135 123 26 45 331
158 124 24 144 136 55
"""
_STRUCTURE = """
8 25 33 38 51 53 57 58 62 65 79 94 104 112 134 153 215 216 223 225 238 241 242 256 295 301 339 342
354 363 372 380 392 408 412 453 456 463 477 497 541 550 553 567 573 582 591 609 612 615 642 645 657
658 659 663 667 668 686 700 702 777 778 782 850 861 868 874
"""
_FURNITURE = """
12 43 48 50 87 106 111 161 163 174 183 204 214 219 221 224 236 262 278 291 298 313 343 344 356 359
373 393 401 414 418 419 430 443 444 447 448 457 458 460 462 475 479 485 486 493 494 498 499 509 510
515 521 524 540 549 551 554 556 558 576 580 608 625 703 734 770 772 797 800 803 804 813 814 815 820
829 835 858 863 882 892
"""


def table_of_40() -> UInt8[np.ndarray, "raw"]:
    """Makes the table from raw labels ``0..894`` to the classes ``1..40``; 0 stays 0."""
    table = np.full(NUM_RAW + 1, 40, np.uint8)
    table[0] = 0
    singles = _numbers(_SINGLE)
    table[singles] = np.arange(1, len(singles) + 1)
    table[_numbers(_STRUCTURE)] = 38
    table[_numbers(_FURNITURE)] = 39
    return table


def _numbers(text: str) -> list[int]:
    return [int(number) for number in text.split()]
