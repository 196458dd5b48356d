"""A finished run segments a scene: windows in batches, layers and a map out."""

from __future__ import annotations

import json
import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from t4spp.components import Backbone
from t4spp.errors import ConfigError, GeoError, RecipeError
from t4spp.evaluation.experiment import Experiment
from t4spp.geo.cog import NODATA
from t4spp.geo.layers import check_placeable
from t4spp.geo.overview import Overview
from t4spp.geo.pictures import SceneReader
from t4spp.geo.predicting import check_rows, stitch_scene
from t4spp.geo.scenes import Scene, check_unchanged, read_scene
from t4spp.geo.stitching import Objects, Stitcher
from t4spp.geo.view import SceneView
from t4spp.geo.windows import WindowGrid, WindowView, plan_windows
from t4spp.report.scene_map import write_difference, write_map, write_quicklook
from t4spp.scene_prediction.answering import AnswerLog, Phrase, WindowAnswerer
from t4spp.scene_prediction.files import RECORD, OutputFolder, SceneSink
from t4spp.scene_prediction.truth import Truth, truth_stamp
from t4spp.schemes.labels import check_label
from t4spp.training.atomic import write_text

logger = logging.getLogger(__name__)

WINDOW = 256
"""Side of a window's picture where neither the recipe nor the user says one, pixels."""
OVERLAP = 0.25
"""Share of a window that the next one shows again, unless a stride is given."""
WHOLE_SIDE = 1024
"""A run that was trained on whole scenes segments scenes up to this side whole, pixels."""

Begin = Callable[[int], Callable[[int], object]]
"""Given the number of windows, returns what is told how many have just been done."""


@dataclass(frozen=True, kw_only=True)
class SceneOptions:
    """How a scene is segmented; None takes what the run's recipe did.

    Attributes:
        window: side of a window's picture, pixels.
        stride: pixels of the picture from one window to the next.
        resolution: metres a pixel of the picture.
        objects: what one object is; None: what the scheme writes as one region, or each connected
            part where it writes one region a label.
        simplify: how far outlines may leave the pixels' edges, in scene pixels.
        least_area: square metres; smaller objects are left out and counted.
        truth: a vector layer with what is there; compared with, and shown to the backbone
            ``oracle``.
        truth_column: its property that holds labels.
        resume: go on with an interrupted prediction.
        overwrite: replace what is there.
    """

    window: int | None = None
    stride: int | None = None
    resolution: float | None = None
    objects: Objects | None = None
    simplify: float = 1.0
    least_area: float = 0.0
    truth: Path | None = None
    truth_column: str | None = None
    resume: bool = False
    overwrite: bool = False


def scene_view_of(experiment: Experiment, scene: Scene, options: SceneOptions) -> SceneView:
    """How the run's recipe reads scenes, changed as the options say.

    Raises:
        ConfigError: the options contradict each other, or no size of windows is known.
    """
    view = _recipe_view(experiment)
    if view is None:
        logger.warning(
            "the recipe %r reads no scenes, so nobody knows how this run sees them: bands and "
            "scaling are the usual ones, windows %d pixels unless --window says otherwise",
            experiment.config.data.title,
            WINDOW,
        )
        view = SceneView(windows=WindowView(size=WINDOW))
    windows = view.windows
    if options.resolution is not None:
        windows = windows.model_copy(update={"resolution": options.resolution})
    if options.window is not None:
        windows = windows.model_copy(
            update={"size": options.window, "size_m": None, "stride": None, "stride_m": None}
        )
    if options.stride is not None:
        windows = windows.model_copy(update={"stride": options.stride, "stride_m": None})
    elif windows.size is not None:
        windows = windows.model_copy(
            update={"stride": max(round(windows.size * (1 - OVERLAP)), 1), "stride_m": None}
        )
    elif windows.size_m is not None:
        windows = windows.model_copy(update={"stride_m": windows.size_m * (1 - OVERLAP)})
    elif max(scene.size) > WHOLE_SIDE:
        raise ConfigError(
            f"the run was trained on whole scenes, and {scene.path} has {scene.size[0]} x "
            f"{scene.size[1]} pixels. Give --window PIXELS, about the side of the scenes that it "
            "was trained on."
        )
    _check_stride(windows, options)
    try:  # copies are not checked
        checked = WindowView.model_validate(windows.model_dump())
    except ValidationError as error:
        reasons = "; ".join(one["msg"].removeprefix("Value error, ") for one in error.errors())
        raise ConfigError(f"--window, --stride, --resolution: {reasons}") from error
    return view.model_copy(update={"windows": checked})


def _check_stride(windows: WindowView, options: SceneOptions) -> None:
    stride = options.stride
    if stride is None:
        return
    if windows.size is None and windows.size_m is None:
        raise ConfigError(
            f"--stride {stride} needs --window PIXELS: the run was trained on whole scenes, which "
            "have one window."
        )
    if windows.size is not None and stride > windows.size:
        raise ConfigError(
            f"--stride {stride} is more than size {windows.size} of a window: pixels would be "
            f"lost. Give --stride {windows.size} or less, or a larger --window."
        )


def _recipe_view(experiment: Experiment) -> SceneView | None:
    """By the recipe's parameters where they can say it: then its data need not be here.

    Of a mixture the first part counts that reads scenes.
    """
    for where, part in experiment.config.data.recipes:
        params = experiment.catalogue.validate("recipe", part.name, part.params, f"{where}.params")
        described = getattr(params, "scene_view", None)
        if callable(described):
            view = described()
            if isinstance(view, SceneView):
                return view
            if len(experiment.config.data.recipes) == 1:
                return None
    try:
        return experiment.recipe.scene_view()
    except RecipeError as error:
        logger.warning("the run's recipe cannot be opened here: %s", error)
        return None


def predict_scene(
    experiment: Experiment,
    load: Callable[[], Backbone],
    path: Path,
    phrases: Sequence[Phrase],
    output: Path,
    options: SceneOptions,
    *,
    identity: str = "",
    progress: Begin | None = None,
) -> dict[str, Any]:
    """Segment a scene and write its layers.

    Args:
        experiment: the run's.
        load: makes its backbone with the trained weights; called once, when first needed.
        path: of the scene.
        phrases: what to find, all in one pass.
        output: a folder.
        options: see there.
        identity: names the weights; a resume needs the same.
        progress: given the number of windows, returns what is told about windows done.

    Returns:
        The content of ``scene.json``.

    Raises:
        GeoError: the scene or the truth cannot be used, or the scene changes meanwhile.
        ConfigError: the options contradict each other.
        RunError: the output exists, or an interrupted prediction cannot be resumed.
        SchemeError: a label cannot be written.
        BackboneError: the weights cannot be loaded.
    """
    labels = _labels(experiment, phrases)
    scene = read_scene(path)
    check_placeable(scene)
    view = scene_view_of(experiment, scene, options)
    grid = plan_windows(scene, view.windows)
    check_rows(grid, len(labels))
    reader = SceneReader(scene, view.picture)
    truth, stamp = None, None
    if options.truth is not None:
        stamp = truth_stamp(options.truth)
        truth = Truth(options.truth, scene, labels, options.truth_column)
    folder = OutputFolder(
        output,
        resume=options.resume,
        overwrite=options.overwrite,
        inputs=[path, *([] if options.truth is None else [options.truth])],
    )
    chunk = max(experiment.config.generation.batch_size, 1)
    meta = {
        "scene": str(scene.path.resolve()),
        "stamp": list(scene.stamp),
        "view": view.model_dump(mode="json"),
        "phrases": [asdict(phrase) for phrase in phrases],
        "scheme": experiment.scheme.fingerprint(),
        "answers": experiment.answers_hash(),
        "weights": identity,
        "chunk": chunk,
        "truth": None if options.truth is None else str(options.truth.resolve()),
        "truth_stamp": stamp,
        "truth_column": options.truth_column,
    }
    job = _Job(
        experiment=experiment,
        load=load,
        scene=scene,
        view=view,
        grid=grid,
        reader=reader,
        phrases=phrases,
        objects=options.objects or _objects_of(experiment, view),
        options=options,
        truth=truth,
        meta=meta,
    )
    folder.begin()
    try:
        record = _predict(job, folder, progress)
    except BaseException:
        folder.abort(keep_answers=_is_unchanged(scene))
        raise
    folder.commit()
    return record


@dataclass(frozen=True, kw_only=True, eq=False)
class _Job:
    """Everything that was checked, before anything is written."""

    experiment: Experiment
    load: Callable[[], Backbone]
    scene: Scene
    view: SceneView
    grid: WindowGrid
    reader: SceneReader
    phrases: Sequence[Phrase]
    objects: Objects
    options: SceneOptions
    truth: Truth | None
    meta: Mapping[str, Any]


def _predict(job: _Job, folder: OutputFolder, progress: Begin | None) -> dict[str, Any]:
    """Write everything into the folder for what is not finished."""
    began = time.perf_counter()
    scene, truth, work = job.scene, job.truth, folder.work
    labels = [phrase.label for phrase in job.phrases]
    overview = Overview(scene.size)
    with (
        AnswerLog(work / "answers.jsonl", job.meta, resume=folder.resumed) as log,
        SceneSink(
            work,
            scene,
            labels,
            simplify=job.options.simplify,
            least_area=job.options.least_area,
            overview=overview,
            truth=truth,
        ) as sink,
    ):
        answerer = WindowAnswerer(job.experiment, job.load, scene, job.phrases, log, truth)
        if not log.replaying:
            answerer.prepare()
        stitcher = Stitcher(scene.size, labels, sink, objects=job.objects)
        counters = stitch_scene(
            job.reader,
            job.grid,
            answerer,
            stitcher,
            chunk=job.meta["chunk"],
            watch=overview.add,
            progress=None if progress is None else progress(len(job.grid)),
        )
        sink.finish()
        counters += stitcher.counters + sink.layers.counters
        record = _record(job, sink, answerer, counters)
        record["seconds"] = round(time.perf_counter() - began, 3)
        record["resumed_answers"] = log.num_replayed
        if truth is not None:
            record["truth"] = truth.report(sink.layers.areas)
        _write_pictures(work, scene, sink, record)
    write_text(work / RECORD, json.dumps(record, indent=2, ensure_ascii=False) + "\n")
    return record


def _is_unchanged(scene: Scene) -> bool:
    try:
        check_unchanged(scene)
    except GeoError:
        return False
    return True


def _labels(experiment: Experiment, phrases: Sequence[Phrase]) -> list[str]:
    labels = [phrase.label for phrase in phrases]
    repeated = [label for label, count in Counter(labels).items() if count > 1]
    if repeated:
        raise ConfigError(f"{repeated[0]!r} is asked for twice; every phrase needs its own label")
    if not labels:
        raise ConfigError("no phrase. Say what to find, for example: t4spp predict s.tif buildings")
    for label in labels:
        check_label(label, experiment.scheme.special_tokens)
    return labels


def _objects_of(experiment: Experiment, view: SceneView) -> Objects:
    """Regions where the run was trained to write one a thing."""
    return view.objects if experiment.scheme.writes_boxes else "parts"


def _record(
    job: _Job, sink: SceneSink, answerer: WindowAnswerer, counters: Counter[str]
) -> dict[str, Any]:
    layers = sink.layers
    return {
        "schema": 1,
        "scene": str(job.scene.path),
        "size": list(job.scene.size),
        "crs": job.scene.crs,
        "transform": list(job.scene.transform),
        "nodata": NODATA,
        "valid_pixels": sink.masks.num_valid,
        "view": job.view.model_dump(mode="json"),
        "grid": [job.grid.rows, job.grid.columns],
        "objects": job.objects,
        "phrases": [
            {
                **asdict(phrase),
                "band": number,
                "pixels": sink.masks.num_pixels[phrase.label],
                "objects": layers.num_objects[phrase.label],
                "area_m2": round(layers.areas[phrase.label], 3),
            }
            for number, phrase in enumerate(job.phrases, start=1)
        ],
        "counters": dict(counters),
        "answers": {
            **{name: answerer.statuses[name] for name in ("ok", "repaired", "invalid")},
            "problems": dict(answerer.problems),
            "num_tokens": answerer.num_tokens,
            "num_passes": answerer.num_passes,
            "seconds": round(answerer.seconds, 3),
        },
    }


def _write_pictures(work: Path, scene: Scene, sink: SceneSink, record: dict[str, Any]) -> None:
    labels = sink.masks.labels
    masks, valid = sink.masks_overview()
    write_quicklook(
        work / "quicklook.png", sink.overview.image, dict(zip(labels, masks, strict=True))
    )
    true = sink.true_overview
    if true is not None:
        write_difference(work / "difference.png", sink.overview.image, masks, true)
    write_map(
        work / "map.html",
        scene=scene,
        image=sink.overview.image,
        valid=valid,
        masks=dict(zip(labels, masks, strict=True)),
        true=None if true is None else dict(zip(labels, true, strict=True)),
        objects=sink.largest,
        num_objects=sum(sink.layers.num_objects.values()),
        record=record,
    )
