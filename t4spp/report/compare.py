"""The page that sets several runs side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from t4spp.decoding.prediction import Prediction
from t4spp.errors import RunError, T4sppError
from t4spp.evaluation.pairs import read_answer
from t4spp.plugins import Catalogue
from t4spp.report.compared import ComparedAnswer, ComparedCard, ComparedGroup
from t4spp.report.gallery import (
    Panel,
    colours_of,
    data_uri,
    masks_picture,
    picture_iou,
    regions_of,
    sample_scores,
    scored_regions,
    shrink,
)
from t4spp.report.html import PER_GROUP, Report, environment, now, software_versions, write_page
from t4spp.report.places import compared_places
from t4spp.report.runs import (
    RunView,
    Stage,
    check_same_samples,
    config_differences,
    find_samples,
    note_on_lost,
    open_run,
    open_stage,
)
from t4spp.report.study import baseline_table, score_charts, tell_apart
from t4spp.report.tables import comparison
from t4spp.types import Sample


def write_comparison(
    run_folders: Sequence[Path],
    catalogue: Catalogue,
    output: Path,
    *,
    split: str | None = None,
    per_group: int = PER_GROUP,
) -> Report:
    """Write one page that sets runs side by side: scores, costs, configs and the same samples.

    Runs on other recipes or splits are compared by their scores alone; the page says so.

    Raises:
        RunError: a folder is no run, or a file in it is damaged.
    """
    views = tuple(open_run(folder, catalogue, split) for folder in run_folders)
    tell_apart(views)
    notes = [f"{view.label}: {text}" for view in views for text in view.missing]
    obstacle = check_same_samples(views)
    groups: list[ComparedGroup] = []
    if obstacle:
        groups = compared_places(views, catalogue, per_group, notes)
        if not groups:
            notes.append(f"The runs saw different samples ({obstacle}), so none are pictured.")
    else:
        groups = _compared_groups(views, catalogue, per_group, notes)
    headings, rows = comparison(views, catalogue)
    baseline_headings, baselines = baseline_table(views)
    page = (
        environment()
        .get_template("compare.html")
        .render(
            title=" · ".join(view.label for view in views),
            views=views,
            headings=headings,
            rows=rows,
            charts=score_charts(views),
            baseline_headings=baseline_headings,
            baselines=baselines,
            differences=config_differences(views),
            notes=notes,
            groups=groups,
            groups_title="The same places" if obstacle else "The same samples",
            versions=software_versions(),
            written=now(),
        )
    )
    write_page(output, page)
    return Report(path=output, runs=views)


def _compared_groups(
    views: Sequence[RunView], catalogue: Catalogue, per_group: int, notes: list[str]
) -> list[ComparedGroup]:
    common = {
        key
        for key, _ in set.intersection(*({(p.id, p.prompt) for p in v.predictions} for v in views))
    }
    scores = [sample_scores(view.scores) for view in views]
    scored = [
        prediction.id
        for prediction in views[0].predictions
        if prediction.id in common and all(prediction.id in table for table in scores)
    ]
    if not scored:
        notes.append("No sample was scored in every run, so none are pictured.")
        return []
    spread = {key: [table[key] for table in scores] for key in scored}
    shown: set[str] = set()
    chosen: list[tuple[str, str, list[str]]] = []
    for title, note, ranked in (
        (
            "Where the runs differ most",
            "largest gap in IoU",
            sorted(scored, key=lambda key: min(spread[key]) - max(spread[key])),
        ),
        ("Hardest for all", "lowest mean IoU", sorted(scored, key=lambda key: sum(spread[key]))),
        ("Best for all", "highest mean IoU", sorted(scored, key=lambda key: -sum(spread[key]))),
    ):
        ids = [key for key in ranked if key not in shown][:per_group]
        shown.update(ids)
        chosen.append((title, note, ids))
    return picture_groups(views, chosen, catalogue, notes)


def picture_groups(
    views: Sequence[RunView],
    chosen: Sequence[tuple[str, str, Sequence[str]]],
    catalogue: Catalogue,
    notes: list[str],
) -> list[ComparedGroup]:
    """Picture samples under every run.

    Args:
        views: the runs, all with answers to these samples.
        chosen: (title, note, ids) of each group.
        catalogue: the plugins.
        notes: faults that cost pictures are added to it.

    Raises:
        RunError: an answer is damaged, or of another scheme.
    """
    shown = {key for _, _, ids in chosen for key in ids}
    try:
        stages = [open_stage(view, catalogue) for view in views]
        samples = find_samples(views[0], stages[0].samples, shown)
    except RunError:
        raise
    except T4sppError as error:
        notes.append(f"No pictures: the samples cannot be opened here. {error}")
        return []
    notes.extend(
        f"{view.label}: {stage.refiner_fault}"
        for view, stage in zip(views, stages, strict=True)
        if stage.refiner_fault
    )
    answers = [{p.id: p for p in view.predictions} for view in views]
    groups = []
    lost: list[str] = []
    for title, note, ids in chosen:
        cards = []
        for key in ids:
            if key not in samples:
                lost.append(key)
                continue
            own = [table[key] for table in answers]
            try:
                cards.append(_compared_card(samples[key], views, own, stages))
            except T4sppError as error:
                notes.append(f"No picture of the sample {key!r}: {error}")
        if cards:
            groups.append(ComparedGroup(title=title, note=note, cards=tuple(cards)))
    notes.extend(note_on_lost(lost))
    return groups


def _compared_card(
    sample: Sample,
    views: Sequence[RunView],
    predictions: Sequence[Prediction],
    stages: Sequence[Stage],
) -> ComparedCard:
    image = sample.image
    read = [
        read_answer(sample, prediction, stage.scheme, stage.refiner)[1]
        for prediction, stage in zip(predictions, stages, strict=True)
    ]
    colours = colours_of(sample, read)
    truth = masks_picture(image, [(t.label, t.mask) for t in sample.targets], colours)
    return ComparedCard(
        id=sample.id,
        prompt=sample.prompt,
        panels=(
            Panel(title="Image", uri=data_uri(shrink(image)), alt=f"picture {sample.id}"),
            Panel(title="Truth", uri=truth, alt="true masks"),
        ),
        answers=tuple(
            ComparedAnswer(
                run=view.label,
                iou=picture_iou(sample, decoded),
                status=decoded.status,
                problems=tuple(dict.fromkeys(p.code for p in decoded.problems)),
                num_tokens=prediction.num_tokens,
                empty=not scored_regions(sample, decoded),
                text=prediction.text,
                panel=Panel(
                    title=view.label,
                    uri=masks_picture(image, regions_of(decoded), colours),
                    alt=f"masks answered by {view.label}",
                ),
            )
            for view, prediction, decoded in zip(views, predictions, read, strict=True)
        ),
    )
