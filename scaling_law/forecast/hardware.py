"""The hardware that people train on, and what a number of FLOPs costs on it.

Peaks are dense (never with sparsity) and, for tensor cores, with fp32 accumulation. Prices are
typical public on-demand rates of ``PRICES_AS_OF``; they differ several-fold between clouds and
change every month: give your own. ``accelerator`` takes your figures in place of the table's.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from scaling_law import text_columns
from scaling_law.errors import ConfigError, quoted
from scaling_law.units import format_count

DTYPES = ("bf16", "fp16", "tf32", "fp32")
"""Best first: a run uses the first one that its device has."""
PRICES_AS_OF = "2025/2026"
DEFAULT_GPU = "H100"
# What an unknown device is answered with: the names near it, or else these.
_MOST_CLOSE = 4
_EXAMPLES = "A100, H100, RTX 4090, TPU v5e or M2 Max"
# Power of the whole site over that of its machines: Google reports 1.1 for its fleet
# (google.com/about/datacenters/efficiency); for a machine at home it is 1.0.
PUE = 1.1


@dataclass(frozen=True, kw_only=True)
class Accelerator:
    """One device as its vendor rates it.

    ``name``: as in the table.
    ``peak_flops``: dense FLOP/s by dtype (of ``DTYPES``, only those that the hardware has).
    ``memory_bytes``: memory in bytes (Apple: unified memory of the largest configuration).
    ``bandwidth_bytes_per_second``: to that memory.
    ``watts``: W of the board at its limit (Apple: of the desktop that carries the chip, at the
        wall, because Apple publishes no other; GH200: of the module with its CPU); None: not
        published.
    ``dollars_per_hour``: US dollars per device-hour on demand; None: hardly anybody rents it out.
    ``utilisation``: the share of the peak that a training run gets (MFU, 0 to 1), a low estimate.
    ``source``: the vendor's document.
    ``as_of``: year(-month) of that document.
    """

    name: str
    peak_flops: Mapping[str, float]
    memory_bytes: int
    bandwidth_bytes_per_second: float
    watts: float | None
    dollars_per_hour: float | None
    utilisation: float
    source: str
    as_of: str

    @property
    def best_dtype(self) -> str:
        """The first of ``DTYPES`` that the device has."""
        return next(dtype for dtype in DTYPES if dtype in self.peak_flops)


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What a number of training FLOPs takes.

    ``flops``: training FLOPs.
    ``dtype``: the dtype whose peak was used.
    ``accelerator``: the device's name.
    ``count``: number of devices.
    ``utilisation``: share of the peak, 0 to 1.
    ``gpu_hours``: device-hours of all devices together.
    ``days``: days of wall clock.
    ``dollars``: US dollars; None without a price.
    ``energy_kwh``: kWh of the site (watts x hours x ``pue``); None without a power rating.
    ``pue``: power of the site over power of its devices.
    """

    flops: float
    dtype: str
    accelerator: str
    count: int
    utilisation: float
    gpu_hours: float
    days: float
    dollars: float | None
    energy_kwh: float | None
    pue: float


# Utilisation. .40: dense pre-training reports .38 to .43 on H100 (Llama 3, arXiv 2407.21783,
# table 4) and .46 on TPU v4 (PaLM, arXiv 2204.02311). Lower where kernels are young (B200), where
# memory is the limit (L4, T4, A10G, consumer cards), or the framework (Apple's Metal): our guess.
# Apple states teraflops only up to M2; the later ones are GPU cores x 128 lanes x 2 FLOPs x the
# clock that reviewers report. fp16 runs at fp32's rate. Apple's W: its support pages on the power
# consumption of Mac mini and Mac Studio.
#
# name | dense TFLOP/s in bf16 fp16 tf32 fp32 | GB | GB/s | W | $/h | utilisation | as of | source
_TABLE = """
M1          |    -   2.6     -   2.6| 16|  68|  39|   -|.20|2020-11| Apple newsroom
M1 Pro      |    -   5.2     -   5.2| 32| 200|   -|   -|.20|2021-10| Apple newsroom
M1 Max      |    -  10.4     -  10.4| 64| 400| 115|   -|.20|2021-10| Apple newsroom
M1 Ultra    |    -    21     -    21|128| 800| 215|   -|.20|2022-03| Apple newsroom
M2          |    -   3.6     -   3.6| 24| 100|  50|   -|.20|2022-06| Apple newsroom
M2 Pro      |    -   6.8     -   6.8| 32| 200| 100|   -|.20|2023-01| estimate: 19 cores, 1.40 GHz
M2 Max      |    -  13.6     -  13.6| 96| 400| 145|   -|.20|2023-01| estimate: 38 cores, 1.40 GHz
M2 Ultra    |    -  27.2     -  27.2|192| 800| 295|   -|.20|2023-06| estimate: 76 cores, 1.40 GHz
M3          |    -   3.6     -   3.6| 24| 100|   -|   -|.20|2023-10| estimate: 10 cores, 1.40 GHz
M3 Pro      |    -   6.5     -   6.5| 36| 150|   -|   -|.20|2023-10| estimate: 18 cores, 1.40 GHz
M3 Max      |    -  14.3     -  14.3|128| 400|   -|   -|.20|2023-10| estimate: 40 cores, 1.40 GHz
M3 Ultra    |    -  28.7     -  28.7|512| 819| 270|   -|.20|2025-03| estimate: 80 cores, 1.40 GHz
M4          |    -   3.8     -   3.8| 32| 120|  65|   -|.20|2024-10| estimate: 10 cores, 1.47 GHz
M4 Pro      |    -   8.1     -   8.1| 64| 273| 140|   -|.20|2024-10| estimate: 20 cores, 1.58 GHz
M4 Max      |    -  16.2     -  16.2|128| 546| 145|   -|.20|2025-03| estimate: 40 cores, 1.58 GHz
A100 40GB   |  312   312   156  19.5| 40|1555| 400|1.30|.40|2020-11| NVIDIA data sheet, SXM4
A100 80GB   |  312   312   156  19.5| 80|2039| 400|1.60|.40|2021-06| NVIDIA data sheet, SXM4
H100 SXM    |989.4 989.4 494.7  66.9| 80|3350| 700|3.00|.40|2022-10| NVIDIA H100 white paper
H100 PCIe   |  756   756   378  51.2| 80|2000| 350|2.50|.40|2022-10| NVIDIA H100 white paper
H200        |989.4 989.4 494.7  66.9|141|4800| 700|3.80|.40|2023-11| NVIDIA data sheet, SXM
B200        | 2250  2250  1100    75|180|8000|1000|5.00|.35|2024-11| NVIDIA DGX data sheet
GH200       |989.4 989.4 494.7  66.9| 96|4000|1000|1.90|.40|2023-08| NVIDIA data sheet, HBM3
L4          |  121   121    60  30.3| 24| 300|  72|0.70|.30|2023-03| NVIDIA data sheet
L40S        |  362   362   183  91.6| 48| 864| 350|1.20|.30|2023-08| NVIDIA data sheet
A10G        |   70    70    35    35| 24| 600| 300|1.01|.30|2022-02| NVIDIA/AWS data sheet
T4          |    -    65     -   8.1| 16| 300|  70|0.50|.30|2019-03| NVIDIA data sheet
V100        |    -   125     -  15.7| 16| 900| 300|0.60|.30|2020-01| NVIDIA data sheet, SXM2
RTX 3090    |   71    71  35.6  35.6| 24| 936| 350|   -|.30|2020-09| NVIDIA GA102 white paper
RTX 4090    |165.2 165.2  82.6  82.6| 24|1008| 450|   -|.30|2022-10| NVIDIA Ada white paper
RTX 5090    |209.5 209.5 104.8 104.8| 32|1792| 575|   -|.30|2025-01| NVIDIA RTX Blackwell paper
RTX 6000 Ada|364.2 364.2 182.1  91.1| 48| 960| 300|0.80|.30|2023-01| NVIDIA data sheet
TPU v4      |  275     -     -     -| 32|1200| 192|3.22|.40|2023-04| Google; arXiv 2304.01433
TPU v5e     |  197     -     -     -| 16| 819|   -|1.20|.40|2023-08| Google Cloud TPU docs
TPU v5p     |  459     -     -     -| 95|2765|   -|4.20|.40|2023-12| Google Cloud TPU docs
"""


def _figure(cell: str) -> float | None:
    return None if cell == "-" else float(cell)


def _from_row(line: str) -> Accelerator:
    cells = [cell.strip() for cell in line.split("|")]
    name, peaks, memory, bandwidth, watts, price, utilisation, as_of, source = cells
    rated = zip(DTYPES, (_figure(peak) for peak in peaks.split()), strict=True)
    return Accelerator(
        name=name,
        peak_flops={dtype: peak * 1e12 for dtype, peak in rated if peak is not None},
        memory_bytes=round(float(memory) * 1e9),
        bandwidth_bytes_per_second=float(bandwidth) * 1e9,
        watts=_figure(watts),
        dollars_per_hour=_figure(price),
        utilisation=float(utilisation),
        source=source,
        as_of=as_of,
    )


ACCELERATORS: dict[str, Accelerator] = {
    device.name: device for device in map(_from_row, _TABLE.strip().splitlines())
}

# Short names, and those torch.cuda.get_device_name gives, once ``_plain`` has cut them down.
_ALIASES = {
    "a100": "A100 80GB", "a100sxm440gb": "A100 40GB", "a100sxm480gb": "A100 80GB",
    "h100": "H100 SXM", "h10080gbhbm3": "H100 SXM", "gh200480gb": "GH200",
    "v100sxm216gb": "V100", "3090": "RTX 3090", "4090": "RTX 4090", "5090": "RTX 5090",
    "6000ada": "RTX 6000 Ada", "rtx6000adageneration": "RTX 6000 Ada",
    "v4": "TPU v4", "v5e": "TPU v5e", "v5litepod": "TPU v5e", "v5p": "TPU v5p",
}  # fmt: skip


def _plain(name: str) -> str:
    """Lower case, letters and digits only, without the vendor."""
    squeezed = re.sub(r"[^a-z0-9]", "", name.lower())
    return re.sub(r"^(?:nvidia|apple|google|cloud|geforce|tesla)+", "", squeezed)


def _named(name: str) -> Accelerator:
    known = {_plain(each): each for each in ACCELERATORS} | _ALIASES
    wanted = _plain(name)
    if wanted in known:
        return ACCELERATORS[known[wanted]]
    near = difflib.get_close_matches(wanted, known, n=3, cutoff=0.6)
    near += [key for key in known if wanted and key.startswith(wanted)]
    close = list(dict.fromkeys(known[key] for key in near))
    hint = f"expected one such as {_EXAMPLES};"
    if close:
        hint = f"did you mean {' or '.join(close[:_MOST_CLOSE])}?"
    raise ConfigError(
        f"device {quoted(name)}: not in the table; {hint} `slaw hardware` lists all"
        f" {len(ACCELERATORS)}"
    )


def accelerator(
    name: str,
    *,
    utilisation: float | None = None,
    dollars_per_hour: float | None = None,
    peak_flops: float | Mapping[str, float] | None = None,
) -> Accelerator:
    """The device ``name`` of ``ACCELERATORS``, with your own figures where given.

    Case, spaces, dashes and the vendor's name do not matter. ``utilisation`` is 0 to 1,
    ``dollars_per_hour`` US dollars per device-hour; ``peak_flops`` is dense FLOP/s by dtype, or
    one number for the device's best dtype, which then is its only one.
    Raises ``ConfigError`` naming the devices, or for a figure out of range.
    """
    device = _named(name)
    if utilisation is not None:
        if not 0 < utilisation <= 1:
            raise ConfigError(
                f"utilisation (--mfu) is {utilisation}, expected above 0 and at most 1"
            )
        device = dataclasses.replace(device, utilisation=utilisation)
    if dollars_per_hour is not None:
        price = _positive("dollars per device-hour (--gpu-price)", dollars_per_hour)
        device = dataclasses.replace(device, dollars_per_hour=price)
    if peak_flops is not None:
        given = peak_flops if isinstance(peak_flops, Mapping) else {device.best_dtype: peak_flops}
        if not given or set(given) - set(DTYPES):
            raise ConfigError(f"peak_flops for {sorted(given)}: expected {', '.join(DTYPES)}")
        peaks = {dtype: _positive(f"{dtype} peak FLOP/s", x) for dtype, x in given.items()}
        device = dataclasses.replace(device, peak_flops=peaks)
    return device


@dataclass(frozen=True, kw_only=True)
class Hardware:
    """The devices that a training run is counted in.

    ``gpu``: name of the kind of device; None: ``DEFAULT_GPU``.
    ``count``: number of devices.
    ``dollars_per_hour``: the user's own price in US dollars a device-hour; None: the table's.
    ``utilisation``: the user's own share of the peak, 0 to 1; None: the table's.
    """

    gpu: str | None = None
    count: int = 1
    dollars_per_hour: float | None = None
    utilisation: float | None = None

    @property
    def device(self) -> Accelerator:
        """One of the devices.

        Raises ``ConfigError`` for a device that is not in the table or a figure out of range.
        """
        return accelerator(
            self.gpu or DEFAULT_GPU,
            utilisation=self.utilisation,
            dollars_per_hour=self.dollars_per_hour,
        )

    @property
    def memory_bytes(self) -> int:
        """Memory of all the devices together, in bytes."""
        return self.count * self.device.memory_bytes


def gpu_and_count(gpu: str | None, count: int | None = None) -> tuple[str | None, int]:
    """The device's name and how many: ``8xH100`` or ``8 x H100`` are 8 of them.

    Raises ``ConfigError`` for another ``count`` beside it.
    """
    several = re.fullmatch(r"\s*(\d{1,9})\s*[xX\u00d7*]\s*(\S.*)", gpu) if gpu is not None else None
    if several is None:
        return gpu, 1 if count is None else count
    number = int(several[1])
    if count not in (None, number):
        raise ConfigError(f"--gpu {gpu} and --gpu-count {count}: expected one number of devices")
    return several[2], number


def named_hardware(hardware: Hardware, *, dollars: float | None) -> Hardware | None:
    """``hardware`` where its device is named or implied by ``dollars``; None where it is not.

    Raises ``ConfigError`` for a price or a utilisation of no device.
    """
    if hardware.gpu is not None or dollars is not None:
        return hardware
    own = {"gpu price": hardware.dollars_per_hour, "mfu": hardware.utilisation}
    if words := " and ".join(name for name, value in own.items() if value is not None):
        raise ConfigError(f"{words} given without a device: expected --gpu or --dollars beside")
    return None


def _positive(what: str, value: float) -> float:
    if not (math.isfinite(value) and value > 0):
        raise ConfigError(f"{what} is {value}, expected a positive finite number")
    return float(value)


def _resolved(device: Accelerator | str, dtype: str | None) -> tuple[Accelerator, str]:
    rated = _named(device) if isinstance(device, str) else device
    chosen = rated.best_dtype if dtype is None else dtype
    if chosen not in rated.peak_flops:
        raise ConfigError(
            f"{rated.name} has no {chosen} peak: expected one of {', '.join(rated.peak_flops)}"
        )
    return rated, chosen


def flops_for_hours(
    gpu_hours: float, accelerator: Accelerator | str, *, dtype: str | None = None
) -> float:
    """FLOPs done in so many device-hours: peak x utilisation x 3600 x hours.

    Raises ``ConfigError`` for hours that are not positive or a dtype that the device lacks.
    """
    device, chosen = _resolved(accelerator, dtype)
    rate = device.peak_flops[chosen] * device.utilisation
    return rate * 3600 * _positive("device-hours", gpu_hours)


def flops_for_dollars(
    dollars: float, accelerator: Accelerator | str, *, dtype: str | None = None
) -> float:
    """FLOPs that so many US dollars rent.

    Raises ``ConfigError`` for a device without a price, as ``flops_for_hours`` otherwise.
    """
    device, chosen = _resolved(accelerator, dtype)
    if device.dollars_per_hour is None:
        raise ConfigError(f"{device.name} has no rental price: give --gpu-price")
    hours = _positive("dollars", dollars) / device.dollars_per_hour
    return flops_for_hours(hours, device, dtype=chosen)


def training_cost(
    flops: float,
    accelerator: Accelerator | str,
    *,
    count: int = 1,
    dtype: str | None = None,
    pue: float = PUE,
) -> Cost:
    """Hours, days, dollars and energy of ``flops`` training FLOPs on ``count`` devices.

    The inverse of ``flops_for_hours``: it assumes that ``count`` devices reach the utilisation
    of one. ``dtype`` None takes the best of ``DTYPES`` that the device has; ``pue`` is site power
    over machine power. Raises ``ConfigError`` for figures out of range.
    """
    device, chosen = _resolved(accelerator, dtype)
    if count < 1:
        raise ConfigError(
            f"number of devices (--gpu-count, or N in NxH100) is {count}, expected at least 1"
        )
    if not (math.isfinite(pue) and pue >= 1):
        raise ConfigError(f"pue is {pue}, expected a finite number of at least 1")
    hours = _positive("FLOPs", flops) / flops_for_hours(1.0, device, dtype=chosen)
    price, watts = device.dollars_per_hour, device.watts
    return Cost(
        flops=float(flops),
        dtype=chosen,
        accelerator=device.name,
        count=count,
        utilisation=device.utilisation,
        gpu_hours=hours,
        days=hours / count / 24,
        dollars=None if price is None else hours * price,
        energy_kwh=None if watts is None else watts * hours * pue / 1000,
        pue=pue,
    )


def energy_words(energy_kwh: float, gpu_hours: float, pue: float) -> str:
    """An energy in kWh, with the device's power and the site's overhead that it follows from."""
    device_kw = energy_kwh / gpu_hours / pue
    return f"{format_count(energy_kwh)} kWh ({device_kw:.3g} kW a device x PUE {pue:g})"


def format_hardware() -> str:
    """The table for a terminal; the peak is that of each device's best dtype, which is named."""
    head = "accelerator TFLOP/s dtype GB GB/s W $/h util date source"
    rows = [tuple(head.split())]
    for device in ACCELERATORS.values():
        dtype, watts, price = device.best_dtype, device.watts, device.dollars_per_hour
        figures = (
            f"{device.peak_flops[dtype] / 1e12:.4g}",
            dtype,
            f"{device.memory_bytes / 1e9:.0f}",
            f"{device.bandwidth_bytes_per_second / 1e9:.0f}",
            "-" if watts is None else f"{watts:.0f}",
            "-" if price is None else f"{price:.2f}",
            f"{device.utilisation:.2f}",
        )
        rows.append((device.name, *figures, device.as_of, device.source))
    lines = text_columns.numbers(rows, words=(0, 2, 8, 9))
    note = "TFLOP/s are dense, in the best dtype for training; util is the assumed share of them;"
    prices = f"prices are typical public on-demand rates of {PRICES_AS_OF}: give your own"
    return "\n".join([*lines, "", note, prices])
