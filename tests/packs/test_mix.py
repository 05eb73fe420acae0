"""Mixes as people type them: `starry=0.5,scream=0.5`."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stylepack.errors import UsageError
from stylepack.packs.mix import Mix, merge, parse_mix


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("starry", [("starry", 1)]),
        ("starry=0.5", [("starry", 0.5)]),
        ("starry=0.5,scream=2", [("starry", 0.5), ("scream", 2)]),
        ("scream,starry", [("scream", 1), ("starry", 1)]),
        ("starry,scream=3", [("starry", 1), ("scream", 3)]),
        ("  starry = 0.5 ,\tscream ", [("starry", 0.5), ("scream", 1)]),
        ("starry=1,scream=1,starry=2", [("starry", 3), ("scream", 1)]),
        ("starry=0,scream=1e-3", [("starry", 0), ("scream", 0.001)]),
        ("packs/my.safetensors=0.25", [("packs/my.safetensors", 0.25)]),
        ("a=b.safetensors=2", [("a=b.safetensors", 2)]),
    ],
)
def test_parsing(text: str, parts: list[tuple[str, float]]) -> None:
    mix = parse_mix(text)
    assert list(mix.parts) == parts
    assert mix.references == [reference for reference, _ in parts]
    assert mix.weights == [weight for _, weight in parts]


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("starry=-1", "starry"),
        ("starry=nan", "starry"),
        ("starry=inf", "starry"),
        ("starry=1e999", "starry"),
        ("starry=half", "half"),
        ("starry=", "starry"),
        ("starry=0.5;scream", "0.5;scream"),
        ("scream,starry=0,5=2x", "2x"),
        ("", "part without a pack"),
        ("   ", "part without a pack"),
        (",", "part without a pack"),
        ("starry,", "part without a pack"),
        ("starry,,scream", "part without a pack"),
        ("=0.5", "part without a pack"),
        (" = 0.5", "part without a pack"),
    ],
)
def test_what_is_no_mix_is_refused_by_the_part_that_is_wrong(text: str, named: str) -> None:
    with pytest.raises(UsageError) as refused:
        parse_mix(text)
    assert named in str(refused.value)


@pytest.mark.parametrize("text", ["a\nb=x", "a\nb=-1", "a,\n,b", "a=\x1b[31m", "\ud800=x"])
def test_the_message_is_one_printable_line_whatever_was_typed(text: str) -> None:
    with pytest.raises(UsageError) as refused:
        parse_mix(text)
    assert str(refused.value).isprintable()


@pytest.mark.parametrize("text", ["starry=0", "starry=0,scream=0.0", "starry=-0"])
def test_weights_that_are_all_zero_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="all zero"):
        parse_mix(text).normalised()


def test_a_mix_of_nothing_is_refused() -> None:
    with pytest.raises(UsageError):
        Mix(()).normalised()


@pytest.mark.parametrize(
    ("text", "weights"),
    [
        ("starry", [1]),
        ("starry=8", [1]),
        ("starry,scream", [0.5, 0.5]),
        ("starry=1,scream=3", [0.25, 0.75]),
        ("starry=0,scream=3", [0, 1]),
        ("starry=1e308,scream=1e308", [0.5, 0.5]),
        ("starry=5e-324,scream=5e-324", [0.5, 0.5]),
    ],
)
def test_normalised_weights(text: str, weights: list[float]) -> None:
    assert parse_mix(text).normalised().weights == pytest.approx(weights)


def test_a_repeated_pack_never_overflows_to_not_a_number() -> None:
    try:
        weights = parse_mix("starry=1.7e308,starry=1.7e308,scream=1").normalised().weights
    except UsageError:
        return
    assert weights == pytest.approx([1, 0])


def test_a_mix_shows_as_it_is_typed() -> None:
    assert str(parse_mix("starry=0.5,scream")) == "starry=0.5,scream=1"


def test_merging_keeps_the_order_of_first_mention() -> None:
    assert merge([("b", 1), ("a", 2), ("b", 3)]).parts == (("b", 4), ("a", 2))


WEIGHTS = st.floats(min_value=0, allow_nan=False, allow_infinity=False)


@settings(max_examples=100, deadline=None)
@given(st.lists(WEIGHTS, min_size=1, max_size=6).filter(any))
def test_normalised_weights_sum_to_one(weights: list[float]) -> None:
    mix = Mix(tuple((f"pack{i}", weight) for i, weight in enumerate(weights))).normalised()
    assert math.isclose(math.fsum(mix.weights), 1, rel_tol=1e-12)
    assert all(0 <= weight <= 1 for weight in mix.weights)
    assert mix.weights[weights.index(max(weights))] == max(mix.weights)


@settings(max_examples=100, deadline=None)
@given(st.text() | st.text("ab=,.-+_e019 \n") | st.from_regex(r"([ab]=[0-9.e+-]{1,6},?)+"))
def test_arbitrary_text_raises_nothing_but_usage_errors(text: str) -> None:
    try:
        weights = parse_mix(text).normalised().weights
    except UsageError:
        return
    assert math.isclose(math.fsum(weights), 1, rel_tol=1e-12)
