"""Published tables of runs: what the fitter concludes from them, beside what their authors did.

    python benchmarks/published_tables.py --data FOLDER

FOLDER holds chinchilla_epoch245.csv, datablations_c4.csv, gemstones_hot.csv, olmo_ladder_c4.csv,
overtrain_gadre104.csv and porian_isoflop.csv; a table that is not there is named and left out. The
240 points of Besiroglu 2024 are tested in every clone (tests/fit/test_parametric.py).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from scaling_law.fit.approaches.isoflop import fit_isoflop  # noqa: E402  (this checkout's)
from scaling_law.fit.approaches.isoflop_curves import AKIMA, CURVES  # noqa: E402
from scaling_law.fit.approaches.parametric import fit_law  # noqa: E402
from scaling_law.fit.checks.screen import screen  # noqa: E402
from scaling_law.fit.points.points import FitPoints  # noqa: E402
from scaling_law.fit.points.table import read_table  # noqa: E402
from scaling_law.fit.points.table_settings import TableSettings  # noqa: E402
from scaling_law.fit.solver.solve import Objective  # noqa: E402


def table(path: Path, *where: str, history: str = "", **roles: str) -> FitPoints:
    """The points of one table."""
    settings = TableSettings(where=where, columns=roles, params_are="total", history=history)
    return read_table(path, settings)


def left_out(path: Path) -> tuple[str, bool]:
    """The five points that the replication left out are those that the screen finds odd."""
    whole, excluded = table(path), table(path, "epoch_excluded=1")
    odd = {name for name, _ in screen(whole).dropped}
    good = 0 < len(odd) <= 5 and odd <= set(excluded.run_id)
    return f"{len(odd)} of the 5 points that Besiroglu 2024 leaves out are odd, no others", good


def coupled(path: Path) -> tuple[str, bool]:
    """Videau 2026: measured surfaces have a coupling below 1."""
    points = table(path)
    fit, additive = fit_law(points, "skaling"), fit_law(points, "chinchilla")
    good = fit.params["k"] < 1 and fit.objective < additive.objective
    return f"k = {fit.params['k']:.3f}, expected below 1", good


def repeated(path: Path) -> tuple[str, bool]:
    """Muennighoff 2023: R_D* = 15.39 repeats after which another is worth 1/e of new data."""
    points = table(path, "epochs<=60", unique_tokens="unique_tokens")
    squares = Objective(loss="mse_log")
    fit = fit_law(points, "muennighoff", objective=squares)
    plain = fit_law(points, "chinchilla", objective=squares)
    good = 8 < fit.params["R_D"] < 30 and fit.objective < 0.6 * plain.objective
    return f"R_D = {fit.params['R_D']:.2f}, published 15.39", good


def over_trained(path: Path) -> tuple[str, bool]:
    """Gadre 2024: one exponent for both terms fits about as well as two."""
    points = table(path, "dataset=c4_original")
    one, two = (fit_law(points, name).objective for name in ("gadre", "chinchilla"))
    return (
        f"objective {one / two:.3f} of that with two exponents, expected below 1.1",
        one < 1.1 * two,
    )


def overflowed(path: Path) -> tuple[str, bool]:
    """FLOPs that wrapped around 64 bits are left out by name, or the column ignored."""
    points = table(path, flops="", history="all")
    return f"{len(points)} of 220 rows without the FLOPs, expected over 200", len(points) > 200


# Porian 2024 (arXiv 2406.19146): configuration -> exponent a of params ~ flops^a.
PORIAN = {
    "rw/base/long/kaplan/kaplan/train": 0.8353,
    "rw/base/long/kaplan/standard/val": 0.7065,
    "rw/base/short/kaplan/standard/val": 0.6020,
    "rw/base/short/chinchilla/standard/val": 0.5715,
    "rw/tuned/short/const/standard/val": 0.4969,
}


def interpolated(path: Path) -> tuple[str, bool]:
    """Porian 2024: optima by local interpolation give the published exponents."""
    off, covered = dict.fromkeys(CURVES, 0.0), dict.fromkeys(CURVES, 0)
    for config, published in PORIAN.items():
        points = table(path, f"config={config}")
        for curve in CURVES:
            line = fit_isoflop(points, curve=curve).lines["params"]
            off[curve] = max(off[curve], abs(line.exponent - published))
            low, high = line.interval or (published, published)
            covered[curve] += low <= published <= high
    words = ", ".join(
        f"{curve}: off by {off[curve]:.4f} at most, in {covered[curve]} of {len(PORIAN)} intervals"
        for curve in CURVES
    )
    return words, off[AKIMA] <= 0.01 and covered[AKIMA] == len(PORIAN)


CHECKS: dict[str, Callable[[Path], tuple[str, bool]]] = {
    "chinchilla_epoch245": left_out,
    "olmo_ladder_c4": coupled,
    "datablations_c4": repeated,
    "overtrain_gadre104": over_trained,
    "gemstones_hot": overflowed,
    "porian_isoflop": interpolated,
}


def main() -> None:
    """Check every table and print a line each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="the folder of the tables")
    folder: Path = parser.parse_args().data
    failed = 0
    for name, check in CHECKS.items():
        path = folder / f"{name}.csv"
        if not path.is_file():
            print(f"{name:<22}not there")
            continue
        words, good = check(path)
        failed += not good
        print(f"{name:<22}{'as published' if good else 'NOT as published'}: {words}")
    raise SystemExit(1 if failed else 0)


if __name__ == "__main__":
    main()
