"""Prompts about a window: classes, attributes, relations in the picture, what is absent."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from t4spp.errors import RecipeError
from t4spp.schemes.labels import label_fault
from t4spp.types import Box
from t4spp_recipes.remote_sensing.prompt_config import PromptsConfig
from t4spp_recipes.remote_sensing.prompts import (
    MAX_ABSENT,
    Asked,
    Thing,
    Vocabulary,
    absent_of,
    choose_absent,
    classes_asked,
    prompts_of,
    vocabulary_of,
)

SIZE = (100, 100)
ROOFS = "the {roof:material} roofs"


def thing(
    label: str | None, y: int, x: int, side: int = 10, *, scored: bool = True, **properties: Any
) -> Thing:
    """A square around (y, x)."""
    low = side // 2
    return Thing(
        label=label,
        properties={key.replace("_", ":"): value for key, value in properties.items()},
        area=side * side,
        centre=(float(y), float(x)),
        box=Box(y0=y - low, x0=x - low, y1=y - low + side, x1=x - low + side),
        scored=scored,
    )


def vocabulary(things: list[Thing], config: PromptsConfig) -> Vocabulary:
    return vocabulary_of([(item.label, item.properties) for item in things], config)


def asked(things: list[Thing], config: PromptsConfig, *more: Thing) -> dict[str, Asked]:
    known = vocabulary([*things, *more], config)
    return {item.prompt: item for item in prompts_of(things, SIZE, config, known, 0)}


def texts(things: list[Thing], kind: str) -> set[str]:
    config = PromptsConfig(classes="none", relations=16)
    found = asked(things, config)
    return {text for text, item in found.items() if item.tags == (f"kind:{kind}",)}


def test_thing_of_a_mask_has_its_area_centre_and_box() -> None:
    mask = np.zeros((8, 8), dtype=np.bool_)
    mask[2:4, 3:6] = True
    found = Thing.of_mask(mask, "road")
    assert found is not None
    assert (found.area, found.centre) == (6, (2.5, 4.0))
    assert found.box == Box(y0=2, x0=3, y1=4, x1=6)
    assert Thing.of_mask(np.zeros((8, 8), dtype=np.bool_), "road") is None


def test_every_class_shown_is_asked_for_once_with_all_its_things() -> None:
    found = asked(
        [thing("road", 20, 20), thing("building", 50, 50), thing("building", 80, 80)],
        PromptsConfig(),
        thing("water", 50, 50),
    )
    assert {text: item.targets for text, item in found.items()} == {
        "building": (1, 2),
        "road": (0,),
    }
    assert found["building"].labels == ("building",)
    assert found["building"].names == ("building", "building")


def test_class_phrase_takes_the_plural() -> None:
    things = [thing(name, 50, 50) for name in ("building", "factory", "marsh", "water", "bay")]
    config = PromptsConfig(phrase="the {classes}", plurals={"water": "water"})
    assert set(asked(things, config)) == {
        "the buildings",
        "the factories",
        "the marshes",
        "the water",
        "the bays",
    }


def test_classes_together_ask_every_window_even_an_empty_one() -> None:
    config = PromptsConfig(classes="together")
    found = asked([], config, thing("road", 1, 1), thing("building", 1, 1))
    assert found["building|road"].labels == ("building", "road")
    assert found["building|road"].kind == "conditioned"
    assert found["building|road"].targets == ()


def test_window_that_nobody_labelled_is_asked_for_every_class() -> None:
    known = vocabulary([thing(f"class {n}", 1, 1) for n in range(40)], PromptsConfig())
    found = classes_asked(PromptsConfig(), known)
    assert len({item.prompt for item in found}) == 40
    assert all(item.tags == ("kind:class",) and not item.targets for item in found)
    (joined,) = classes_asked(PromptsConfig(classes="together"), known)
    assert len(joined.labels) == 40


def test_attribute_template_names_the_things_with_the_value() -> None:
    things = [
        thing("building", 20, 20, roof_material="tin"),
        thing("building", 50, 50, roof_material="clay_tiles"),
        thing("building", 80, 80, roof_material="tin"),
        thing("road", 10, 10),
    ]
    found = asked(things, PromptsConfig(classes="none", attributes=(ROOFS,)))
    assert {text: item.targets for text, item in found.items()} == {
        "the clay tiles roofs": (1,),
        "the tin roofs": (0, 2),
    }
    assert found["the tin roofs"].names == ("the tin roofs", "the tin roofs")
    assert found["the tin roofs"].tags == ("kind:attribute",)


def test_thing_whose_value_nobody_knows_is_not_scored_but_one_of_a_class_without_it_is() -> None:
    things = [
        thing("building", 20, 20, roof_material="tin"),
        thing("building", 50, 50, roof_material=None),
        thing("building", 60, 60, roof_material=float("nan")),
        thing("building", 70, 70, roof_material=" "),
        thing("road", 80, 80),
    ]
    found = asked(things, PromptsConfig(classes="none", attributes=(ROOFS,)))
    assert found["the tin roofs"].ignored == (1, 2, 3)


def test_words_rename_values_and_an_empty_word_makes_them_unknown() -> None:
    things = [
        thing("building", 20, 20, roof_material="concerte"),
        thing("building", 50, 50, roof_material="concrete"),
        thing("building", 80, 80, roof_material="mixed"),
    ]
    config = PromptsConfig(
        classes="none",
        attributes=(ROOFS,),
        words={"roof:material": {"concerte": "concrete", "mixed": ""}},
    )
    found = asked(things, config)
    assert set(found) == {"the concrete roofs"}
    assert found["the concrete roofs"].targets == (0, 1)
    assert found["the concrete roofs"].ignored == (2,)


def test_template_of_several_properties_and_the_class_needs_all_of_them() -> None:
    things = [
        thing("building", 20, 20, a="flat", b="tin"),
        thing("building", 50, 50, a="flat"),
    ]
    config = PromptsConfig(classes="none", attributes=("{a} {classes} of {b}",))
    found = asked(things, config)
    assert {text: (item.targets, item.ignored) for text, item in found.items()} == {
        "flat buildings of tin": ((0,), (1,))
    }


def test_whole_numbers_stand_without_a_fraction() -> None:
    things = [thing("building", 20, 20, levels=3.0), thing("building", 20, 20, levels=2.5)]
    config = PromptsConfig(classes="none", attributes=("with {levels} floors",))
    assert set(asked(things, config)) == {"with 3 floors", "with 2.5 floors"}


def test_phrase_that_no_descriptor_can_carry_is_mended_and_counted() -> None:
    things = [thing("building", 20, 20, name="A|B\nC")]
    config = PromptsConfig(classes="none", attributes=("the {name}",))
    assert set(asked(things, config)) == {"the A/B C"}
    assert vocabulary(things, config).counters == {"labels_sanitised": 1}


def test_template_with_an_unknown_property_names_the_nearest() -> None:
    things = [thing("building", 20, 20, roof_material="tin")]
    with pytest.raises(RecipeError, match=r"no feature has the property 'roof:materiel'.*Did you"):
        vocabulary(things, PromptsConfig(attributes=("the {roof:materiel} roofs",)))


def test_largest_and_smallest_need_a_clear_difference() -> None:
    things = [thing("building", 30, 30, 24), thing("building", 70, 70, 16)]
    assert texts(things, "size") == {"the largest building", "the smallest building"}
    close = [thing("building", 30, 30, 18), thing("building", 70, 70, 16)]
    assert texts(close, "size") == set()


def test_thing_cut_by_the_edge_is_not_called_the_smallest() -> None:
    things = [thing("building", 30, 30, 24), thing("building", 5, 70, 10)]
    assert texts(things, "size") == {"the largest building"}


def test_places_are_those_of_the_picture() -> None:
    things = [thing("building", 30, 31, 10), thing("building", 70, 30, 10)]
    found = asked(things, PromptsConfig(classes="none", relations=16))
    places = {t: i.targets for t, i in found.items() if i.tags == ("kind:position",)}
    assert places == {"the topmost building": (0,), "the bottommost building": (1,)}


def test_building_left_of_the_largest_one() -> None:
    things = [thing("building", 50, 60, 20), thing("building", 50, 20), thing("building", 52, 90)]
    found = asked(things, PromptsConfig(classes="none", relations=16))
    beside = {t: i.targets for t, i in found.items() if i.tags == ("kind:relation",)}
    assert beside == {
        "the building left of the largest one": (1,),
        "the building right of the largest one": (2,),
        "the building nearest to the largest one": (2,),
    }


def test_nearest_needs_a_clear_difference_and_a_rival() -> None:
    anchor = thing("building", 50, 50, 20)
    near, far, as_near = (thing("building", 50, x) for x in (20, 90, 79))
    assert "the building nearest to the largest one" in texts([anchor, near, far], "relation")
    assert "the building nearest to the largest one" not in texts(
        [anchor, near, as_near], "relation"
    )
    assert "the building nearest to the largest one" not in texts([anchor, near], "relation")


def test_several_things_beside_an_anchor_are_named_in_the_plural() -> None:
    things = [
        thing("water", 50, 70, 20),
        thing("building", 20, 20),
        thing("building", 80, 30),
        thing("building", 85, 90),
    ]
    found = asked(things, PromptsConfig(classes="none", relations=16))
    assert found["the buildings left of the water"].targets == (1, 2)
    assert found["the building right of the water"].targets == (3,)


def test_relations_point_only_at_the_classes_asked_for() -> None:
    things = [
        thing("water", 50, 70, 20),
        thing("road", 10, 10),
        thing("road", 90, 10),
        thing("building", 20, 20),
        thing("building", 80, 30),
    ]
    config = PromptsConfig(classes="none", relations=16, related=("building",))
    found = asked(things, config)
    assert "the buildings left of the water" in found
    assert all(set(item.targets) <= {3, 4} for item in found.values())
    with pytest.raises(RecipeError, match=r"no class 'bilding'\. Did you mean 'building'"):
        vocabulary(things, PromptsConfig(relations=1, related=("bilding",)))


def test_candidate_in_doubt_forbids_the_phrase() -> None:
    doubtful = thing("building", 80, 55)  # between the anchor's edge and its centre
    things = [thing("building", 50, 60, 20), thing("building", 50, 20), doubtful]
    assert "the building left of the largest one" not in texts(things, "relation")


@pytest.mark.parametrize(
    "rival", [thing("building", 20, 5, 6, scored=False), thing(None, 20, 5, 6)]
)
def test_rival_that_is_not_scored_or_of_unknown_class_forbids_pointing_at_it(rival: Thing) -> None:
    things = [thing("building", 50, 60, 20), thing("building", 50, 20), rival]
    found = texts(things, "position") | texts(things, "size") | texts(things, "relation")
    assert "the largest building" in found
    assert "the leftmost building" not in found
    assert not {text for text in found if "left of" in text}


def test_sliver_is_not_pointed_at_but_is_a_rival() -> None:
    sliver = thing("building", 20, 2, 4)
    found = texts([thing("building", 50, 60, 20), thing("building", 50, 20), sliver], "position")
    assert "the rightmost building" in found
    assert "the leftmost building" not in found


def test_class_of_a_raster_is_not_counted_as_things() -> None:
    mask = np.zeros(SIZE, dtype=np.bool_)
    mask[10:20, 10:20] = mask[50:80, 50:80] = True
    region = Thing.of_mask(mask, "building", single=False)
    assert region is not None
    assert texts([region, thing("building", 90, 90)], "position") == set()


def test_relations_are_bounded_and_seeded() -> None:
    things = [thing("building", 10 + 8 * n, 90 - 8 * n, 4 + n) for n in range(8)]
    config = PromptsConfig(classes="none", relations=2)
    known = vocabulary(things, config)
    drawn = [
        tuple(item.prompt for item in prompts_of(things, SIZE, config, known, seed))
        for seed in range(20)
    ]
    assert all(len(prompts) == 2 for prompts in drawn)
    assert len(set(drawn)) > 1
    assert drawn[3] == tuple(item.prompt for item in prompts_of(things, SIZE, config, known, 3))


def test_kinds_of_relations_take_turns() -> None:
    things = [thing("building", 50, 50, 20), thing("building", 20, 20), thing("building", 80, 80)]
    config = PromptsConfig(classes="none", relations=3)
    known = vocabulary(things, config)
    for seed in range(10):
        found = prompts_of(things, SIZE, config, known, seed)
        assert {item.tags for item in found} == {
            ("kind:size",),
            ("kind:position",),
            ("kind:relation",),
        }


def test_absent_classes_and_values_are_offered() -> None:
    tin = thing("building", 20, 20, roof_material="tin")
    more = [
        thing("building", 1, 1, roof_material="clay"),
        thing("road", 1, 1),
        thing("water", 1, 1),
    ]
    config = PromptsConfig(attributes=(ROOFS,))
    known = vocabulary([tin, *more], config)
    found = absent_of([tin], config, known, 0)
    assert {item.prompt for item in found} == {"road", "water", "the clay roofs"}
    assert all(item.targets == () and "no-target" in item.tags for item in found)


def test_absence_is_claimed_of_nothing_that_may_be_there() -> None:
    unknown = thing("building", 20, 20, roof_material=None)
    tin = thing("building", 1, 1, roof_material="tin")
    config = PromptsConfig(attributes=(ROOFS,))
    known = vocabulary([tin, thing("road", 1, 1)], config)
    assert {item.prompt for item in absent_of([unknown], config, known, 0)} == {"road"}
    assert absent_of([thing(None, 20, 20)], config, known, 0) == ()
    small = thing("road", 20, 20, scored=False)
    assert {i.prompt for i in absent_of([small, tin], config, known, 0)} == set()


def test_window_offers_a_bounded_seeded_choice_of_absent_phrases() -> None:
    many = [thing("building", 1, 1, name=f"house {n}") for n in range(100)]
    config = PromptsConfig(attributes=("the {name}",))
    known = vocabulary(many, config)
    offered = [absent_of([], config, known, seed) for seed in (0, 1, 0)]
    assert [len(items) for items in offered] == [MAX_ABSENT] * 3
    assert offered[0] == offered[2] != offered[1]


def test_chosen_absent_prompts_make_their_share_and_the_lack_is_told() -> None:
    config = PromptsConfig()
    known = vocabulary([thing("road", 1, 1), thing("water", 1, 1)], config)
    windows = {number: absent_of([], config, known, number) for number in range(10)}
    chosen, lacking = choose_absent(windows, 30, 0.25, 0)
    assert (sum(len(items) for items in chosen.values()), lacking) == (10, 0)
    assert max(len(items) for items in chosen.values()) == 1
    chosen, lacking = choose_absent(windows, 90, 0.25, 0)
    assert (sum(len(items) for items in chosen.values()), lacking) == (20, 10)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"phrase": "the houses"}, "needs {class}"),
        ({"phrase": "{class} {name}"}, "needs {class}"),
        ({"attributes": ["the roofs"]}, "names properties in braces"),
        ({"attributes": ["the {roof roofs"]}, "names properties in braces"),
        ({"attributes": ["the {class}"]}, "names properties in braces"),
        ({"classes": "none"}, "nothing is asked"),
        ({"words": {"roof": {"a": "b"}}, "attributes": ["{roofs}"]}, "Did you mean 'roofs'"),
        ({"related": ["building"]}, "relations, which are 0"),
        ({"no_target_share": 1.0}, "less than 1"),
    ],
)
def test_config_that_makes_no_sense_is_refused(params: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        PromptsConfig.model_validate(params)


@st.composite
def windows(draw: st.DrawFn) -> list[Thing]:
    drawn = draw(
        st.lists(
            st.tuples(
                st.sampled_from(["building", "road", None]),
                st.integers(5, 94),
                st.integers(5, 94),
                st.integers(1, 10),
                st.booleans(),
                st.sampled_from(["tin", "a|b", None]),
            ),
            max_size=6,
        )
    )
    return [
        thing(label, y, x, side, scored=scored, roof_material=value)
        for label, y, x, side, scored, value in drawn
    ]


@given(windows(), st.integers(0, 5))
def test_prompts_are_labels_and_never_point_at_what_is_not_scored(
    things: list[Thing], seed: int
) -> None:
    config = PromptsConfig(attributes=(ROOFS,), relations=16)
    known = vocabulary([*things, thing("building", 1, 1, roof_material="tin")], config)
    found = prompts_of(things, SIZE, config, known, seed)
    absent = absent_of(things, config, known, seed)
    assert len({item.prompt for item in (*found, *absent)}) == len(found) + len(absent)
    for item in (*found, *absent):
        assert label_fault(item.prompt) is None
        assert len(item.names) == len(item.targets)
        assert all(things[index].scored and things[index].label for index in item.targets)
        assert not set(item.ignored) & set(item.targets)
    assert all(item.targets for item in found)
    assert not any(item.targets for item in absent)


@given(windows(), st.integers(0, 5))
def test_order_of_things_does_not_change_what_is_asked(things: list[Thing], seed: int) -> None:
    config = PromptsConfig(attributes=(ROOFS,), relations=16)
    known = vocabulary([*things, thing("building", 1, 1, roof_material="tin")], config)
    one = {
        i.prompt: {id(things[t]) for t in i.targets}
        for i in prompts_of(things, SIZE, config, known, seed)
    }
    turned = things[::-1]
    two = {
        i.prompt: {id(turned[t]) for t in i.targets}
        for i in prompts_of(turned, SIZE, config, known, seed)
    }
    assert one == two
