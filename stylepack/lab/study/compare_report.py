"""What `study compare` writes: tables, figures and the report of a finished contest."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from stylepack.lab.intervals import Estimate, Values, crossed, ratio
from stylepack.lab.study.compare import (
    ADDED,
    SCRATCH,
    SHARED,
    SINGLE,
    ComparedNetworks,
    NetworkSpec,
)
from stylepack.lab.study.networks import style_numbers
from stylepack.lab.study.report import (
    ALL_KINDS,
    KINDS,
    Bars,
    Curve,
    Panel,
    Report,
    counted,
    draw_bars,
    draw_panels,
    intervals,
    quantity,
)
from stylepack.network.trunk import Trunk
from stylepack.training.reports.losses_log import NAME
from stylepack.training.reports.sheets import read_curves

SIDES = {SHARED: "one network of n styles", SINGLE: "n networks of one style"}


@dataclass(frozen=True)
class ReadoutPoint:
    """One way to compare: after how many updates each side is read."""

    title: str
    shared: int
    single: int


class CompareStudy(ComparedNetworks):
    """The contest, and what is written of it."""

    def write(self) -> list[Path]:
        """Tables, figures and the report."""
        return write_contest(self)


def write_contest(study: ComparedNetworks) -> list[Path]:
    """Write everything; return the paths, the report's last."""
    report = Report("An n-style network against n single-style networks")
    report.say(_preface(study))
    files = [_table(study)]
    results: dict[str, object] = {"last_batch": _last_batches(study)}
    files.append(_draw_last_batches(study, report))
    if not study.request.published:
        files += _draw_fair(study, report, results)
    _costs(study, report, results)
    if study.new:
        files.append(_draw_new_style(study, report, results))
    files.append(study.folder.write_results(results))
    return [*files, report.write(study.folder.path)]


def readings(study: ComparedNetworks) -> list[ReadoutPoint]:
    """The report's moment, and the two that are fair."""
    n, updates = study.plan.styles, study.plan.updates
    first = study.of_side(SINGLE)[0].moments[0]
    return [
        ReadoutPoint("the report's moment: equal updates a network", updates, updates),
        ReadoutPoint("equal updates in total", updates, first),
        ReadoutPoint("equal updates per style", n * updates, updates),
    ]


def values_at(study: ComparedNetworks, side: str, updates: int, kind: str, style: int) -> Values:
    """(seeds, photographs) losses of one style on one side after some updates."""
    found = []
    for seed in range(study.plan.seeds):
        entries = study.of_side(side, seed)
        entry, place = (entries[0], style) if side == SHARED else (entries[style], 0)
        found.append(getattr(study.measured(entry).moments[updates][place], kind))
    return np.array(found)


def mean_values(study: ComparedNetworks, side: str, updates: int, kind: str) -> Values:
    """(seeds, photographs) means over the styles."""
    styles = range(study.plan.styles)
    values: Values = np.mean([values_at(study, side, updates, kind, s) for s in styles], axis=0)
    return values


def _draw_fair(study: ComparedNetworks, report: Report, results: dict[str, object]) -> list[Path]:
    files = [study.folder.path / "compare.png", study.folder.path / "styles.png"]
    draw_panels(files[0], [_fair_panel(study, kind) for kind in ALL_KINDS])
    report.head("Fair comparisons")
    report.figure(
        files[0],
        "Losses on held-out photographs, the mean of the styles, when both sides have painted "
        f"every style equally often.{_intervals(study, 'Bands')}",
    )
    rows, told = [], {}
    for one in readings(study):
        sides = {SHARED: one.shared, SINGLE: one.single}
        means = {
            kind: [mean_values(study, side, updates, kind) for side, updates in sides.items()]
            for kind in ALL_KINDS
        }
        ratios = {kind: ratio(*pair) for kind, pair in means.items()}
        told[one.title] = {
            "updates": sides,
            **{
                kind: {
                    SHARED: asdict(crossed(shared)),
                    SINGLE: asdict(crossed(single)),
                    "ratio": asdict(ratios[kind]),
                }
                for kind, (shared, single) in means.items()
            },
        }
        rows.append((one.title, one.shared, one.single, *ratios.values()))
    results["held_out"] = told
    report.table(
        (
            "reading, on held-out photographs",
            "updates, n-style",
            "updates, each single",
            *(f"{title}: n-style / single" for title in ALL_KINDS.values()),
        ),
        rows,
    )
    draw_bars(files[1], [_style_bars(study, kind) for kind in KINDS])
    report.figure(
        files[1],
        f"Style by style, after {study.plan.updates:,} updates per style on both sides, held out."
        f"{_intervals(study, 'Whiskers')}",
    )
    return files


def _intervals(study: ComparedNetworks, what: str) -> str:
    return intervals(what, len(study.held_out), study.plan.seeds)


def _fair_panel(study: ComparedNetworks, kind: str) -> Panel:
    moments = {side: study.of_side(side)[0].moments for side in SIDES}
    curves = [
        Curve.of(
            words,
            moments[SINGLE],
            [crossed(mean_values(study, side, u, kind)) for u in moments[side]],
        )
        for side, words in SIDES.items()
    ]
    unit = quantity(kind, study.materials.recipe)
    return Panel(ALL_KINDS[kind], "updates per style", unit, curves)


def _style_bars(study: ComparedNetworks, kind: str) -> Bars:
    last = {side: study.of_side(side)[0].updates for side in SIDES}
    groups = {
        words: [
            crossed(values_at(study, side, last[side], kind, style))
            for style in range(study.plan.styles)
        ]
        for side, words in SIDES.items()
    }
    unit = quantity(kind, study.materials.recipe)
    return Bars(KINDS[kind], unit, [p.name for p in study.paintings], groups)


def last_batch(
    study: ComparedNetworks, entry: NetworkSpec, style: str, updates: int
) -> dict[str, float]:
    """A style's losses in the last batch that it was in, up to some update."""
    path = study.folder.path / "networks" / entry.name / NAME
    done, losses = read_curves(path)[style]
    last = done == done[done <= updates].max()
    return {kind: float(losses[f"{kind}_loss"][last].mean()) for kind in KINDS}


def _last_batches(study: ComparedNetworks) -> dict[str, dict[str, dict[str, float]]]:
    """Side -> style -> losses of the last batch, of the first seed, as the report read them."""
    (shared,), singles = study.of_side(SHARED, 0), study.of_side(SINGLE, 0)
    updates = study.plan.updates
    return {
        SHARED: {p.name: last_batch(study, shared, p.name, updates) for p in study.paintings},
        SINGLE: {
            painting.name: last_batch(study, single, painting.name, updates)
            for painting, single in zip(study.paintings, singles, strict=True)
        },
    }


def _draw_last_batches(study: ComparedNetworks, report: Report) -> Path:
    target, found = study.folder.path / "last-batch.png", _last_batches(study)
    panels = [
        Bars(
            f"{title}, last batch",
            quantity(kind, study.materials.recipe),
            [painting.name for painting in study.paintings],
            {
                words: [Estimate(one[kind], None) for one in found[side].values()]
                for side, words in SIDES.items()
            },
        )
        for kind, title in KINDS.items()
    ]
    draw_bars(target, panels)
    report.head("As the report read it")
    report.figure(
        target,
        f"Each style's last training batch after {study.plan.updates:,} updates of every network: "
        f"a style of the n-style network has had about 1/{study.plan.styles} of them.  One batch"
        f"{_first_seed(study)}, other photographs for each bar, no intervals.",
    )
    return target


def _first_seed(study: ComparedNetworks) -> str:
    """Which networks' last batches are read, where there is a choice."""
    return " of the first seed's networks" if study.plan.seeds > 1 else ""


def _costs(study: ComparedNetworks, report: Report, results: dict[str, object]) -> None:
    """Parameters, bytes and training time of both sides."""
    trunk, n = Trunk(), study.plan.styles
    weights = sum(p.numel() for p in trunk.parameters())
    style = style_numbers(trunk.config, study.plan.block_norms)
    numbers = {SHARED: weights + n * style, SINGLE: n * (weights + style)}
    rows, told = [], {}
    for side, words in SIDES.items():
        entries = study.of_side(side)
        size = sum(p.stat().st_size for e in study.of_side(side, 0) for p in study.files(e))
        seconds = sum(study.measured(entry).seconds for entry in entries) / study.plan.seeds
        updates = sum(entry.updates for entry in study.of_side(side, 0))
        told[side] = {
            "parameters": numbers[side],
            "bytes": size,
            "updates": updates,
            "training_seconds": seconds,
        }
        rows.append((words, numbers[side], size, updates, seconds))
    results["costs"] = told
    report.head("What both sides cost")
    report.table(("side", "parameters", "bytes", "updates in all", "training time, s"), rows)
    report.say(
        "Bytes are those of the files: trunks in float16, packs in float32 without thumbnails.  "
        "The time is that of training alone, a mean of the seeds, on whatever else this machine "
        "was doing."
    )


def _draw_new_style(study: ComparedNetworks, report: Report, results: dict[str, object]) -> Path:
    target = study.folder.path / "new-style.png"
    labels = {ADDED: "gamma and beta alone", SCRATCH: "a network from scratch"}
    curves: dict[str, dict[int, dict[str, Estimate]]] = {}
    for side in labels:
        entries = study.of_side(side)
        curves[side] = {
            moment: {
                kind: crossed(np.array([_only(study, e, moment, kind) for e in entries]))
                for kind in ALL_KINDS
            }
            for moment in entries[0].moments
        }
    panels = [
        Panel(
            title,
            "updates",
            quantity(kind, study.materials.recipe),
            [
                Curve.of(label, [*curves[side]], [one[kind] for one in curves[side].values()])
                for side, label in labels.items()
            ],
            x_scale="symlog",
            y_scale="log",
        )
        for kind, title in ALL_KINDS.items()
    ]
    draw_panels(target, panels)
    assert study.new is not None
    report.head("One style more")
    report.figure(
        target,
        f"The style {study.new.name}, held out: gamma and beta alone on the trained network of "
        f"{study.plan.styles} styles, from their mean, against a network from scratch."
        f"{_intervals(study, 'Bands')}",
    )
    report.say(_in_words(curves[ADDED], curves[SCRATCH]))
    results["new_style"] = {
        side: {str(m): {k: asdict(f) for k, f in one.items()} for m, one in found.items()}
        for side, found in curves.items()
    }
    return target


def _only(study: ComparedNetworks, entry: NetworkSpec, moment: int, kind: str) -> Sequence[float]:
    values: Sequence[float] = getattr(study.measured(entry).moments[moment][0], kind)
    return values


def _in_words(
    added: dict[int, dict[str, Estimate]], scratch: dict[int, dict[str, Estimate]]
) -> str:
    """Both after the same updates, and when the network from scratch has caught up."""
    last = max(added)
    reached, alike = added[last]["total"].mean, scratch[last]["total"].mean
    caught = [moment for moment, one in scratch.items() if one["total"].mean <= reached]
    end = (
        f"gets there by update {caught[0]:,}"
        if caught
        else f"does not get there in {max(scratch):,} updates"
    )
    return (
        f"After {last:,} updates gamma and beta alone are at a weighted loss of {reached:.3g}, the "
        f"network from scratch at {alike:.3g}; it {end}."
    )


def _preface(study: ComparedNetworks) -> str:
    plan, recipe = study.plan, study.materials.recipe
    names = ", ".join(painting.name for painting in study.paintings)
    mode = (
        "As published: every network has the same number of updates, so that each style of the "
        f"n-style network gets a fraction of them; one last batch{_first_seed(study)} is read."
        if study.request.published
        else "Corrected: beside the report's reading, both sides are measured on held-out "
        "photographs after equal updates per style and after equal updates in total.  "
        "`--as-published` does only what the report did."
    )
    norms = "uses one norm twice" if plan.block_norms == 1 else "has two norms"
    return (
        f"{plan.styles} styles ({names}), {plan.updates:,} updates, "
        f"{counted(plan.seeds, 'seed')}, {recipe.batch} crops of {recipe.crop} pixels an update, "
        f"recipe `{recipe.name}` at a constant learning rate, loss network "
        f"{study.request.network_in_words}, "
        f"{counted(len(study.materials.photos.paths), 'photograph')} to learn on, "
        f"{len(study.held_out)} held out.\n\n{mode}  Each residual block {norms}."
    )


def _table(study: ComparedNetworks) -> Path:
    columns = ("network", "seed", "style", "updates", "photograph", "content", "style_loss")
    rows = (
        (entry.side, entry.seed, painting.name, updates, photo, content, style, total)
        for entry in study.entries
        for updates, losses in study.measured(entry).moments.items()
        for painting, one in zip(entry.paintings, losses, strict=True)
        for photo, (content, style, total) in enumerate(
            zip(one.content, one.style, one.total, strict=True), start=1
        )
    )
    return study.folder.write_table("compare.csv", (*columns, "total"), rows)
