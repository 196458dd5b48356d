import numpy as np
import pytest

from t4spp.errors import BackboneError
from t4spp.plugins import load_catalogue
from t4spp.testing import build_scheme
from t4spp.types import UNKNOWN_TRUTH, Sample, Target


def _oracle(**params):
    oracle = load_catalogue().build("backbone", "oracle", params)
    oracle.load(())
    return oracle


def _square(y=10, x=10, side=20, size=(64, 64)):
    mask = np.zeros(size, dtype=np.bool_)
    mask[y : y + side, x : x + side] = True
    return mask


def _sample(number=0, masks=(None,), **fields):
    targets = tuple(Target(label="dog", mask=_square() if mask is None else mask) for mask in masks)
    fields = {"labels": ("dog",), **fields}
    return Sample(id=f"s{number}", size=(64, 64), prompt="dog", targets=targets, **fields)


@pytest.fixture(scope="module")
def scheme():
    return build_scheme("next-brick", grid=8)


def test_uncorrupted_answer_decodes_to_what_the_scheme_can_express(scheme):
    sample = _sample(masks=(_square(), _square(40, 5, 9)))
    (text,) = _oracle().answer([sample], scheme)
    decoded = scheme.decode(text, sample.size, sample.labels)
    assert decoded.status == "ok"
    expected = scheme.quantize(sample.targets, sample.size)
    assert [r.label for r in decoded.regions] == [r.label for r in expected]
    for found, wanted in zip(decoded.regions, expected, strict=True):
        assert np.array_equal(found.mask, wanted.mask)


def test_answer_wraps_the_descriptor_in_a_sentence_and_tags(scheme):
    sample = _sample()
    (text,) = _oracle().answer([sample], scheme)
    descriptor = scheme.encode(sample.targets, sample.size)
    assert text == f"Here it is.\n<seg>{descriptor}</seg>"


def test_no_target_prompt_is_answered_with_an_empty_descriptor(scheme):
    (text,) = _oracle().answer([_sample(masks=())], scheme)
    decoded = scheme.decode(text, (64, 64), ("dog",))
    assert (decoded.regions, decoded.status) == ((), "ok")


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_drop_share_leaves_targets_out(scheme, share):
    (text,) = _oracle(drop_share=share).answer([_sample(masks=(None, None))], scheme)
    decoded = scheme.decode(text, (64, 64), ("dog",))
    assert len(decoded.regions) == (0 if share else 2)


def test_shares_are_met_over_many_samples(scheme):
    oracle = _oracle(drop_share=0.3, no_answer_share=0.2, damage_share=0.5)
    oracle.answer([_sample(number) for number in range(400)], scheme)
    assert 0.13 < oracle.counters["unanswered"] / 400 < 0.27
    assert 0.2 < oracle.counters["dropped"] / (400 - oracle.counters["unanswered"]) < 0.4
    assert 0.4 < oracle.counters["damaged"] / (400 - oracle.counters["unanswered"]) < 0.6


def test_shift_moves_the_mask_by_the_pixels(scheme):
    fine = build_scheme("image-full", grid=64)
    for number in range(8):
        (text,) = _oracle(shift_pixels=3).answer([_sample(number)], fine)
        moved = fine.decode(text, (64, 64), ("dog",)).union("dog", (64, 64))
        rows, columns = np.flatnonzero(moved.any(1)), np.flatnonzero(moved.any(0))
        assert moved.sum() == 400
        assert {abs(int(rows[0]) - 10), abs(int(columns[0]) - 10)} <= {0, 3}
        assert (int(rows[0]), int(columns[0])) != (10, 10)


@pytest.mark.parametrize(("pixels", "side"), [(2, 16), (0, 20)])
def test_erosion_shrinks_the_mask(pixels, side):
    fine = build_scheme("image-full", grid=64)
    (text,) = _oracle(erode_pixels=pixels).answer([_sample()], fine)
    assert fine.decode(text, (64, 64), ("dog",)).union("dog", (64, 64)).sum() == side**2


def test_negative_erosion_grows_the_mask():
    fine = build_scheme("image-full", grid=64)
    (text,) = _oracle(erode_pixels=-1).answer([_sample()], fine)
    assert fine.decode(text, (64, 64), ("dog",)).union("dog", (64, 64)).sum() == 400 + 4 * 20


def test_damaged_answers_are_decoded_and_said_to_be_repaired_or_invalid(scheme):
    oracle = _oracle(damage_share=1.0, damage_edits=2, damage_kinds=["delete"])
    texts = oracle.answer([_sample(number) for number in range(20)], scheme)
    statuses = {scheme.decode(text, (64, 64), ("dog",)).status for text in texts}
    assert statuses <= {"repaired", "invalid"}


def test_corruption_depends_on_the_seed_and_the_sample_alone(scheme):
    params = {"drop_share": 0.5, "damage_share": 0.5, "shift_pixels": 4}
    samples = [_sample(number, (None, None)) for number in range(12)]
    first = _oracle(seed=1, **params).answer(samples, scheme)
    reverse = [_oracle(seed=1, **params).answer([sample], scheme)[0] for sample in samples[::-1]]
    assert first == reverse[::-1]
    assert first != _oracle(seed=2, **params).answer(samples, scheme)


def test_target_that_the_scheme_cannot_write_is_left_unanswered_and_counted(scheme):
    sample = _sample()
    bad = Sample(
        id="bad",
        size=sample.size,
        prompt="a|b",
        targets=(Target(label="a|b", mask=_square()),),
        labels=("a|b",),
    )
    oracle = _oracle()
    assert oracle.answer([bad], scheme) == ["Here it is."]
    assert oracle.counters["unwritable"] == 1


def test_photograph_without_truth_is_refused(scheme):
    with pytest.raises(BackboneError, match="answers from the truth"):
        _oracle().answer([_sample(masks=(), tags=(UNKNOWN_TRUTH,))], scheme)


def test_missing_tokenizer_folder_is_an_error_that_names_it():
    oracle = load_catalogue().build("backbone", "oracle", {"tokenizer": "/nowhere"})
    with pytest.raises(BackboneError, match="/nowhere"):
        oracle.load(())


def test_fingerprint_changes_with_every_parameter():
    assert _oracle().fingerprint() == _oracle().fingerprint()
    assert _oracle().fingerprint() != _oracle(drop_share=0.1).fingerprint()
