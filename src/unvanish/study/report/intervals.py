"""The mean accuracy of each method with its 95 % interval, and every seed as a point."""

from collections.abc import Sequence

import altair as alt

from unvanish.study.report.groups import Group, judged_on
from unvanish.study.report.palette import encoding
from unvanish.study.report.significance import estimates, values_of

ROW = 24  # pixels a method


def intervals(groups: Sequence[Group], by: str = "last") -> alt.LayerChart | None:
    """`None` where no method has two seeds."""
    found = estimates(groups, by)
    if not any(one.n > 1 for one in found.values()):
        return None
    values, _ = values_of(groups, by)
    names = list(found)
    bars = [
        {"method": name, "mean": one.mean, "low": one.low, "high": one.high, "n": one.n} for name, one in found.items()
    ]
    points = [{"method": name, "v": v, "seed": seed} for name in names for seed, v in values[name].items()]
    y = alt.Y("method:N", sort=names, title=None)
    x = alt.X("v:Q", title=f"accuracy, {judged_on(groups)}", scale=alt.Scale(zero=False))
    seeds = alt.Chart(alt.Data(values=points)).mark_point(size=24, opacity=0.55)
    seeds = seeds.encode(x=x, y=y, color=encoding(names)["color"], tooltip=["method:N", "seed:Q", "v:Q"])
    tips = ["method:N", "mean:Q", alt.Tooltip("low:Q", title="from"), alt.Tooltip("high:Q", title="to"), "n:Q"]
    base = alt.Chart(alt.Data(values=bars))
    line = base.mark_rule(strokeWidth=2.5).encode(
        x=alt.X("low:Q"), x2="high:Q", y=y, color=encoding(names)["color"], tooltip=tips
    )
    mean = base.mark_tick(thickness=2.5, size=14).encode(x=alt.X("mean:Q"), y=y, color=encoding(names)["color"])
    return alt.LayerChart(layer=[line, mean, seeds]).properties(
        height=ROW * len(names),
        width="container",
        title=alt.TitleParams("accuracy", subtitle="mean over seeds with its 95 % interval; a circle is a seed"),
        description=f"Mean accuracy with its interval, of {', '.join(names)}.",
    )
