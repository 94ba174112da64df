"""Tests of the colors of loss terms."""

from fdcmkd_jax.report import style
from fdcmkd_jax.report.run import Metrics, Model, Run


def test_the_usual_terms_keep_their_color_whatever_else_is_logged():
    def colors(*terms):
        rows = [{"step": 1, "terms": dict.fromkeys(terms, 1.0)}]
        trained = Model("audio", None, {}, rows, [], None)
        return style.palette(Run({}, {}, 0, [], Metrics("", {}), {"audio": trained}, [])).terms

    few, many = colors("low", "task"), colors("divergence", "align", "low", "task")
    assert list(few) == ["task", "low"]
    assert few.items() <= many.items()
    assert len(set(many.values())) == 4
