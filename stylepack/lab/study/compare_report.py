"""Tables, figures and the report of `study compare`."""

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from stylepack.errors import UsageError, counted
from stylepack.lab.intervals import Estimate, Values, crossed, ratio
from stylepack.lab.study.compare import ADDED, SCRATCH, SHARED, SINGLE, ComparedNetworks
from stylepack.lab.study.networks import NetworkSpec, style_parameters
from stylepack.lab.study.report import (
    ALL_KINDS,
    Bars,
    Report,
    draw_bars,
    intervals,
    mean_curve,
    quantity,
)
from stylepack.training.initial import untrained_trunk
from stylepack.training.reports.charts import KINDS, Panel, draw_panels, read_curves
from stylepack.training.reports.losses_csv import NAME

SIDES = {SHARED: "one network of n styles", SINGLE: "n networks of one style"}


@dataclass(frozen=True)
class ReadoutPoint:
    """A comparison: the updates after which each side is read."""

    title: str
    shared: int
    single: int


class CompareStudy(ComparedNetworks):
    """The compared networks, and their report."""

    def write(self) -> list[Path]:
        """Write tables, figures and the report."""
        report = Report("An n-style network against n single-style networks")
        report.say(_preface(self))
        files = [_table(self)]
        results: dict[str, object] = {"last_batch": _last_batches(self)}
        files.append(_draw_last_batches(self, report))
        if not self.request.published:
            files += _draw_fair(self, report, results)
        _costs(self, report, results)
        if self.new:
            files.append(_draw_new_style(self, report, results))
        files.append(self.folder.write_results(results))
        return [*files, report.write(self.folder.path)]


def readout_points(study: ComparedNetworks) -> list[ReadoutPoint]:
    """The report's readout, and the two fair ones."""
    n, updates = study.plan.styles, study.plan.updates
    first = study.of_side(SINGLE)[0].readouts[0]
    return [
        ReadoutPoint("the report's: equal updates per network", updates, updates),
        ReadoutPoint("equal updates in total", updates, first),
        ReadoutPoint("equal updates per style", n * updates, updates),
    ]


def values_at(study: ComparedNetworks, side: str, updates: int, kind: str, style: int) -> Values:
    """(seeds, photographs) losses of one style on one side after some updates."""
    values = []
    for seed in range(study.plan.seeds):
        specs = study.of_side(side, seed)
        spec, index = (specs[0], style) if side == SHARED else (specs[style], 0)
        values.append(getattr(study.measured(spec).readouts[updates][index], kind))
    return np.array(values)


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
        "Losses on held-out photographs, the mean of the styles, after both sides have painted "
        f"every style equally often.{_intervals(study, 'Bands')}",
    )
    rows, comparisons = [], {}
    for point in readout_points(study):
        sides = {SHARED: point.shared, SINGLE: point.single}
        means = {
            kind: [mean_values(study, side, updates, kind) for side, updates in sides.items()]
            for kind in ALL_KINDS
        }
        ratios = {kind: ratio(*pair) for kind, pair in means.items()}
        comparisons[point.title] = {
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
        rows.append((point.title, point.shared, point.single, *ratios.values()))
    results["held_out"] = comparisons
    columns = ("readout, on held-out photographs", "updates, n-style", "updates, each single")
    report.table((*columns, *(f"{title}: n-style / single" for title in ALL_KINDS.values())), rows)
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
    readouts = {side: study.of_side(side)[0].readouts for side in SIDES}
    curves = [
        mean_curve(
            words,
            readouts[SINGLE],
            [crossed(mean_values(study, side, u, kind)) for u in readouts[side]],
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
    return Bars(KINDS[kind], quantity(kind, study.materials.recipe), study.names, groups)


def last_batch(
    study: ComparedNetworks, spec: NetworkSpec, style: str, updates: int
) -> dict[str, float]:
    """A style's losses in its last batch up to some update.

    Raises:
        UsageError: there was none in so few updates.
    """
    path = study.folder.path / "networks" / spec.name / NAME
    done, losses = read_curves(path).get(style, (np.empty(0), {}))
    if not (done <= updates).any():
        raise UsageError(f"no batch of {style} in {updates} updates; use more --updates")
    last = done == done[done <= updates].max()
    return {kind: float(losses[f"{kind}_loss"][last].mean()) for kind in KINDS}


def _last_batches(study: ComparedNetworks) -> dict[str, dict[str, dict[str, float]]]:
    """Side -> style -> losses of the last batch with the first seed, the report's method."""
    (shared,), singles = study.of_side(SHARED, 0), study.of_side(SINGLE, 0)
    pairs = {SHARED: [(shared, name) for name in study.names]}
    pairs[SINGLE] = list(zip(singles, study.names, strict=True))
    return {
        side: {name: last_batch(study, spec, name, study.plan.updates) for spec, name in networks}
        for side, networks in pairs.items()
    }


def _draw_last_batches(study: ComparedNetworks, report: Report) -> Path:
    target, batches = study.folder.path / "last-batch.png", _last_batches(study)
    panels = []
    for kind, title in KINDS.items():
        groups = {
            words: [Estimate(losses[kind], None) for losses in batches[side].values()]
            for side, words in SIDES.items()
        }
        unit = quantity(kind, study.materials.recipe)
        panels.append(Bars(f"{title}, last batch", unit, study.names, groups))
    draw_bars(target, panels)
    report.head("The report's method")
    report.figure(
        target,
        f"Each style's last training batch after {study.plan.updates:,} updates of every network: "
        f"a style of the n-style network has had about 1/{study.plan.styles} of them.  One batch"
        f"{_first_seed(study)}, other photographs for each bar, no intervals.",
    )
    return target


def _first_seed(study: ComparedNetworks) -> str:
    return " of the first seed's networks" if study.plan.seeds > 1 else ""


def _costs(study: ComparedNetworks, report: Report, results: dict[str, object]) -> None:
    """Parameters, bytes and training time of both sides."""
    trunk, n = untrained_trunk(study.materials.recipe), study.plan.styles
    weights = sum(p.numel() for p in trunk.parameters())
    style = style_parameters(trunk.config, study.plan.block_norms)
    parameters = {SHARED: weights + n * style, SINGLE: n * (weights + style)}
    keys = ("parameters", "bytes", "updates", "training_seconds")
    rows, costs = [], {}
    for side, words in SIDES.items():
        specs = study.of_side(side, 0)
        size = sum(path.stat().st_size for spec in specs for path in study.files(spec))
        updates = sum(spec.updates for spec in specs)
        seconds = sum(study.measured(s).seconds for s in study.of_side(side)) / study.plan.seeds
        values = parameters[side], size, updates, seconds
        costs[side] = dict(zip(keys, values, strict=True))
        rows.append((words, *values))
    results["costs"] = costs
    report.head("Costs of both sides")
    report.table(("side", "parameters", "bytes", "updates in all", "training time, s"), rows)
    report.say(
        "Bytes are file sizes: trunks in float16, packs in float32 without thumbnails.  The time "
        "is that of training alone, a mean over the seeds; other work on this machine lengthens it."
    )


def _draw_new_style(study: ComparedNetworks, report: Report, results: dict[str, object]) -> Path:
    target = study.folder.path / "new-style.png"
    labels = {ADDED: "gamma and beta alone", SCRATCH: "a network from scratch"}
    curves: dict[str, dict[int, dict[str, Estimate]]] = {}
    for side in labels:
        networks = [study.measured(spec).readouts for spec in study.of_side(side)]
        curves[side] = {
            readout: {
                kind: crossed(np.array([getattr(n[readout][0], kind) for n in networks]))
                for kind in ALL_KINDS
            }
            for readout in study.of_side(side)[0].readouts
        }
    panels = [
        Panel(
            title,
            "updates",
            quantity(kind, study.materials.recipe),
            [
                mean_curve(label, [*curves[side]], [x[kind] for x in curves[side].values()])
                for side, label in labels.items()
            ],
            x_scale="symlog",
            y_scale="log",
        )
        for kind, title in ALL_KINDS.items()
    ]
    draw_panels(target, panels)
    assert study.new is not None
    report.head("One more style")
    report.figure(
        target,
        f"The style {study.new.name}, held out: gamma and beta alone on the trained network of "
        f"{study.plan.styles} styles, from their mean, against a network from scratch."
        f"{_intervals(study, 'Bands')}",
    )
    report.say(_in_words(curves[ADDED], curves[SCRATCH]))
    results["new_style"] = {
        side: {str(at): {kind: asdict(x) for kind, x in kinds.items()} for at, kinds in c.items()}
        for side, c in curves.items()
    }
    return target


def _in_words(
    added: dict[int, dict[str, Estimate]], scratch: dict[int, dict[str, Estimate]]
) -> str:
    """Both losses after the same updates, and when the network from scratch reaches the other's."""
    last = max(added)
    reached, alike = added[last]["total"].mean, scratch[last]["total"].mean
    caught = [readout for readout, kinds in scratch.items() if kinds["total"].mean <= reached]
    end = (
        f"reaches the former by update {caught[0]:,}"
        if caught
        else f"does not reach the former in {max(scratch):,} updates"
    )
    return (
        f"After {last:,} updates gamma and beta alone have a weighted loss of {reached:.3g}, the "
        f"network from scratch {alike:.3g}; it {end}."
    )


def _preface(study: ComparedNetworks) -> str:
    plan, recipe = study.plan, study.materials.recipe
    mode = (
        "As published: every network has the same number of updates, so that each style of the "
        f"n-style network gets a fraction of them; one last batch{_first_seed(study)} is read."
        if study.request.published
        else "Corrected: besides the report's readout, both sides are measured on held-out "
        "photographs after equal updates per style and after equal updates in total.  "
        "`--as-published` repeats only the report's method."
    )
    norms = "uses one norm twice" if plan.block_norms == 1 else "has two norms"
    return (
        f"{plan.styles} styles ({', '.join(study.names)}), {plan.updates:,} updates, "
        f"{counted(plan.seeds, 'seed')}, {recipe.batch} crops of {recipe.crop} pixels per update, "
        f"recipe `{recipe.name}` at a constant learning rate, loss network "
        f"{study.request.network_in_words}, "
        f"{counted(len(study.materials.photos.paths), 'training photograph')}, "
        f"{len(study.held_out)} held out.\n\n{mode}  Each residual block {norms}."
    )


def _table(study: ComparedNetworks) -> Path:
    columns = ("network", "seed", "style", "updates", "photograph", "content", "style_loss")
    rows = (
        (spec.side, spec.seed, style, update, *values)
        for spec in study.specs
        for update, style, *values in study.measured(spec).rows(spec.styles)
    )
    return study.folder.write_table("compare.csv", (*columns, "total"), rows)
