"""Notebook parameters as papermill hands them over: texts become lists and numbers, wrong values become a sentence."""

import pytest

from vizlib import parameters
from vizlib.errors import InputError


@pytest.mark.parametrize("value", [["a", "b c"], "a, b c", "[a,b c]", '["a", "b c"]', "['a', 'b c']", ("a", "b c")])
def test_names_come_as_lists_and_as_text(value):
    assert parameters.names(value) == ["a", "b c"]


@pytest.mark.parametrize("value", ["potter's wheel", "jack-o'-lantern"])
def test_a_name_keeps_its_own_quotes(value):
    assert parameters.names(value) == [value]


@pytest.mark.parametrize(("value", "found"), [("[0]", [0]), ("3, 4", [3, 4]), (7, [7]), ([1, "2"], [1, 2]), (2.0, [2])])
def test_whole_numbers_come_as_lists_and_as_text(value, found):
    assert parameters.numbers("seeds", value) == found


@pytest.mark.parametrize("value", ["3,4", [3, 4], "", "x", 1.5, -1, None, True, float("nan"), float("inf"), []])
def test_one_whole_number_is_not_two_and_not_something_else(value):
    with pytest.raises(InputError, match=r"seed must be a whole number of at least 0, not .*; try seed=0"):
        parameters.numbers("seed", value, most=1)


def test_what_is_advised_is_allowed():
    with pytest.raises(InputError, match="try size=200"):
        parameters.numbers("size", 8, low=32, most=1)
    with pytest.raises(InputError, match="try size=300"):
        parameters.numbers("size", 8, low=300, most=1)


def test_sections_by_name():
    choose = lambda value: parameters.choices("sections", value, ("a", "b", "c"), none="layers")
    assert choose("all") == ("a", "b", "c") and choose("layers") == ()
    assert choose("c, a") == ("a", "c") and choose("[layers, b]") == ("b",)
    with pytest.raises(InputError, match="did you mean layers"):
        choose("layer,b")


@pytest.mark.parametrize(("value", "found"), [("true", True), (False, False), ("no", False), (1, True)])
def test_switches(value, found):
    assert parameters.switch("interactive", value) is found
    with pytest.raises(InputError, match="interactive must be True or False"):
        parameters.switch("interactive", "perhaps")
