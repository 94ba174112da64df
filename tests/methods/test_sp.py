"""Similarity-preserving distillation."""

import numpy as np
from toy_outputs import KEPT, close, model, terms_of, unit, wide


def test_similarity_compares_unit_rows_of_the_table_of_products():
    student, teacher = model(0, width=6), model(1)

    def table(outputs):
        features = wide(outputs.features)
        return unit(features @ features[KEPT].T)

    expected = np.sum((table(student) - table(teacher)) ** 2, axis=1) / len(KEPT)
    close(terms_of("sp", student, teacher)["similarity"][KEPT], expected[KEPT])
