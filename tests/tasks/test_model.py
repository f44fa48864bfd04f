"""The model as plain numbers."""

from linear_neuron.tasks.model import Candidate, LinearModel, Term
from linear_neuron.tasks.storage.store import Store
from tests.helpers import make_version


def test_columns_of_numbers_are_terms_too(store: Store) -> None:
    candidate = Candidate(weights=[2.0], bias=0.0, centers=[5.0], base=10.0, rows=1)
    version = make_version(store, "v", centers=[6.0], base=19.0, candidate=candidate)
    assert version.all_terms == [Term(name="RM", kind="number", value="`RM`", weight=3.0, center=6.0)]
    assert version.candidate_terms == [Term(name="RM", kind="number", value="`RM`", weight=2.0, center=5.0)]
    assert version.kinds == {"RM": "number"}


def test_versions_without_centers_have_centers_of_zero(store: Store) -> None:
    version = make_version(store, "v", features=["a`b"])
    assert version.all_terms == [Term(name="a`b", kind="number", value="`a``b`", weight=3.0)]
    assert version.candidate_terms == version.all_terms


def test_fitted_terms_are_taken_as_they_are(store: Store) -> None:
    served = Term(name="cut", kind="category", label="`cut`", levels={"Ideal": 1.0}, rows={"Ideal": 10})
    measured = served.model_copy(update={"levels": {"Ideal": 2.0}})
    candidate = Candidate(weights=[2.0], bias=0.0, rows=1, terms=[measured])
    version = make_version(
        store, "v", features=["cut"], terms=[served], columns={"cut": "category"}, candidate=candidate
    )
    assert (version.all_terms, version.candidate_terms) == ([served], [measured])
    assert version.kinds == {"cut": "category"}


def test_formula_of_many_terms_shows_the_first() -> None:
    names = [f"x{number}" for number in range(20)]
    formula = LinearModel((1.0,) * 20, -2.0).formula(names, "y")
    assert formula.startswith("y = 1.0000 * x0 + ")
    assert formula.endswith("1.0000 * x11 + 8 more terms - 2.0000")
