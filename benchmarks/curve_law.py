"""Curve laws on published loss curves: the curves of six schedules, predicted from three others.

    python benchmarks/curve_law.py --data FOLDER            # beside the published errors
    python benchmarks/curve_law.py --data FOLDER --splits 12   # and from other choices of three

After the three, each size is fitted alone. Then cosines are predicted from curves whose rate falls
only at the end, which do not say how far progress slows with it: those of FOLDER, and those of our
own sweep ``schedules``, where pairs of a cosine and a cooldown of one length, rate and seed are put
in order as well.

FOLDER holds csv_25, csv_100 and csv_400, the curves that Luo 2025 (arXiv 2503.12811) published with
the multi-power law: nine tables (step, lr, loss) each. The published errors are those of the
repository's tables of metrics (25M, 100M, 400M parameters).
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import random
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from scaling_law.files.layout import SweepDir  # noqa: E402  (this checkout's)
from scaling_law.files.record import load_records  # noqa: E402
from scaling_law.fit.curves.curve import Curve  # noqa: E402
from scaling_law.fit.curves.fit_curves import too_few  # noqa: E402
from scaling_law.fit.curves.law import LAWS, CurveLaw  # noqa: E402
from scaling_law.fit.curves.session import (  # noqa: E402
    HeldOut,
    Question,
    fit_with_other,
    read_curves,
)

PUBLISHED = {"csv_25": 0.0038, "csv_100": 0.0044, "csv_400": 0.0048}
FITTED = ("cosine_24000", "constant_24000", "wsdcon_9")
WARMUP = 2160.0  # steps


def predicted(
    curves: Sequence[Curve], fitted: Sequence[str], law: CurveLaw
) -> dict[str, list[HeldOut]]:
    """By group, every curve that is not fitted, as the law through the fitted ones predicts it."""
    fit = fit_with_other([one for one in curves if one.name in fitted], law)
    held: dict[str, list[HeldOut]] = {group: [] for group in fit.groups}
    for one in curves:
        if one.name not in fitted:
            wanted = fit.predict(one.group, one.rate, one.steps)
            held[one.group].append(HeldOut(curve=one, predicted=wanted))
    return held


FLAT = (
    ("constant_24000", "wsd_20000_24000"),
    ("constant_24000", "wsdld_20000_24000"),
    ("constant_72000", "wsd_20000_24000"),
    ("constant_24000", "constant_72000", "wsd_20000_24000", "wsdld_20000_24000"),
)
COSINES = ("cosine_24000", "cosine_72000")
OWN = ROOT / "results" / "reference" / "schedules"
SURE = 0.9  # a probability from which an order counts as predicted


def is_in_at_end(one: HeldOut) -> bool:
    """Whether the last loss is inside its interval."""
    end = one.curve.losses[-1]
    return bool(one.predicted.low[-1] <= end <= one.predicted.high[-1])


def cosines(curves: Sequence[Curve], law: CurveLaw) -> list[HeldOut]:
    """Cosines as ``law`` predicts them from each choice of ``FLAT``, sizes together and alone."""
    groups = {one.group for one in curves}
    held = []
    for fitted, together in itertools.product(FLAT, (groups, *({group} for group in groups))):
        own = [one for one in curves if one.group in together and one.name in (*fitted, *COSINES)]
        held += [one for each in predicted(own, fitted, law).values() for one in each]
    return held


def own_cosines(law: CurveLaw) -> tuple[list[HeldOut], list[bool]]:
    """Cosines of our own sweep, and of the pairs whose order is sure whether it is right."""
    shapes = {one.run_id: one.spec.schedule.shape for one in load_records(SweepDir(OWN))}
    seeds = {one.run_id: one.spec.seed for one in load_records(SweepDir(OWN))}
    by_rate: dict[tuple[str, float], list[Curve]] = {}
    for one in read_curves([OWN], Question()).curves:
        mine = dataclasses.replace(one, group=f"{one.group} seed {seeds[one.name]}")
        by_rate.setdefault((one.group, round(one.rate.peak, 6)), []).append(mine)
    held, right = [], []
    for mine in by_rate.values():
        flat = [one for one in mine if one.rate.falls_at_once]
        if not flat or too_few(flat):
            continue
        fit = fit_with_other(flat, law)
        for one in mine:
            if shapes[one.name] != "cosine" or one.rate.falls_at_once:
                continue
            wanted = fit.predict(one.group, one.rate, one.steps)
            held.append(HeldOut(curve=one, predicted=wanted))
            for other in flat:
                cooled = other.rate.lr[-1] < 0.1 * other.rate.peak
                if (other.group, other.end, cooled) == (one.group, one.end, True):
                    chance = fit.chance_below((one.group, one.rate), (one.group, other.rate))
                    if not 1 - SURE < chance < SURE:
                        right.append((chance > 0.5) == bool(one.losses[-1] < other.losses[-1]))
    return held, right


def scores(held: Sequence[HeldOut]) -> tuple[float, float]:
    """(mean absolute error, share of points inside their interval), each a mean over curves."""
    return fmean(one.error for one in held), fmean(one.covered for one in held)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--splits", type=int, default=0, metavar="N", help="other choices of three")
    options = parser.parse_args()
    folders = [options.data / name for name in PUBLISHED]
    missing = [str(folder) for folder in folders if not folder.is_dir()]
    if missing:
        print(f"no folder {', '.join(missing)}: see the top of this file")
        return 2
    curves = [
        one
        for one in read_curves(folders, Question(warmup_steps=WARMUP)).curves
        if one.group in PUBLISHED
    ]
    good = True
    print("law          size     error   published  inside 90%")
    for law in LAWS:
        for group, held in predicted(curves, FITTED, law).items():
            error, inside = scores(held)
            print(f"{law.name:11}  {group:7}  {error:.5f}  {PUBLISHED[group]:.4f}    {inside:.0%}")
            if law is LAWS[0]:
                good &= error < PUBLISHED[group] and inside >= 0.85
    print("\nlaw          size     error   published  inside 90%, each size alone")
    for law in LAWS:
        for group in PUBLISHED:
            own = [one for one in curves if one.group == group]
            error, inside = scores(predicted(own, FITTED, law)[group])
            print(f"{law.name:11}  {group:7}  {error:.5f}  {PUBLISHED[group]:.4f}    {inside:.0%}")
            if law is LAWS[0]:
                good &= error < PUBLISHED[group] and inside >= 0.85
    print("\ncosines from curves that fall only at the end: mean error, inside 90%, ends inside")
    for law in LAWS:
        held = cosines(curves, law)
        error, inside = scores(held)
        ends = fmean(map(is_in_at_end, held))
        print(f"{law.name:11}  published  {error:.5f}  {inside:.0%}  {ends:.0%} of {len(held)}")
        if law is LAWS[0]:
            good &= inside >= 0.85 and ends >= 0.85
        held, right = own_cosines(law)
        error, inside = scores(held)
        ends = fmean(map(is_in_at_end, held))
        print(
            f"{law.name:11}  our own    {error:.5f}  {inside:.0%}  {ends:.0%} of {len(held)};"
            f" {fmean(right):.0%} of {len(right)} sure orders are right"
        )
    if options.splits:
        names = sorted({one.name for one in curves})
        others = [three for three in itertools.combinations(names, 3) if set(three) != set(FITTED)]
        chosen = random.Random(0).sample(others, min(options.splits, len(others)))
        chosen = [three for three in chosen if any("con_" in n or "cosine" in n for n in three)]
        print(f"\n{len(chosen)} other choices of three curves to fit: mean error, inside 90%")
        for law in LAWS:
            pairs = [
                scores(held) for three in chosen for held in predicted(curves, three, law).values()
            ]
            error, inside = (fmean(values) for values in zip(*pairs, strict=True))
            print(f"{law.name:11}  {error:.5f}  {inside:.0%}")
    print("better than published, intervals cover" if good else "NOT as good as published")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
