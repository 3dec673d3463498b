"""Format a plan as text for the dry run: every run, its cost, and what was left out."""

from __future__ import annotations

import textwrap
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from functools import lru_cache

from scaling_law import parts, text_columns
from scaling_law.errors import listed
from scaling_law.plan.compiling import compiled_words
from scaling_law.plan.plan import Plan, PlannedRun
from scaling_law.plan.weights import saved_weights_text
from scaling_law.spec.architectures import architecture_of
from scaling_law.spec.arms import Values, arm_name, arm_of
from scaling_law.spec.chosen import chosen_parts, parts_of
from scaling_law.spec.counts import count_params
from scaling_law.spec.data import TaskSpec
from scaling_law.spec.mix import Mix
from scaling_law.spec.model import Model
from scaling_law.spec.parallel import Parallel
from scaling_law.spec.run import RunSpec
from scaling_law.units import count_of, format_bytes, format_count, format_seconds

_HEAD = (
    ("run", "params", "params", "params", "tokens", "epochs", "batch", "steps", "LR", "beta2",
     "warm-up", "FLOPs", "memory", "time"),
    ("", "non-emb", "matmul", "total", "", "", "tokens", "", "peak", "", "steps", "spent", "", ""),
)  # fmt: skip
_WIDTH = 120


def render_plan(plan: Plan, beside: Sequence[str] = ()) -> str:
    """Format the plan as a table of 120 to 140 columns, trunks above their branches, with totals.

    The runs of an arm are together, under its name. ``beside`` are lines about what a plan does
    not hold, such as the engine.
    """
    lines = [*_table(plan), "", *_totals(plan), *beside, *_left_out(plan), "", *_notes(plan)]
    return "\n".join(lines) + "\n"


def _table(plan: Plan) -> list[str]:
    rows: list[Sequence[str]] = [*_HEAD, *(_row(run) for run in plan.runs)]
    lines = text_columns.numbers(rows)
    table: list[str] = lines[: len(_HEAD)]
    before: Values | None = () if not plan.arms else None
    for run, line in zip(plan.runs, lines[len(_HEAD) :], strict=True):
        arm = arm_of(run.spec)
        if arm != before:
            table.append(f"arm {arm_name(arm)}" if arm else "of several arms")
            before = arm
        table.append(line)
    return table


def arm_lines(plan: Plan) -> list[str]:
    """Say what each arm costs, one line each; no line without axes."""
    if not plan.arms:
        return []
    rows = [
        (
            f"  {arm_name(tuple(arm.values.items()))}:",
            f"{count_of(arm.points, 'point')},",
            f"{count_of(arm.trunks, 'trunk')},",
            f"{arm.flops_spent:.2e} FLOPs,",
            f"{format_seconds(arm.seconds)} on one slot",
        )
        for arm in plan.arms
    ]
    lines = [f"arms: {len(rows)}", *text_columns.numbers(rows, words=(0, 4))]
    if shared := [run for run in plan.runs if not arm_of(run.spec)]:
        spent = sum(run.flops_spent for run in shared)
        lines.append(
            f"  several arms together: {count_of(len(shared), 'trunk')}, {spent:.2e} FLOPs,"
            f" {format_seconds(sum(run.seconds for run in shared))} on one slot"
        )
    return lines


def mix_lines(plan: Plan) -> list[str]:
    """Say in what mixtures the text is read, and how often each component is; none without one.

    Of a mixture the run that repeats its text most stands for the others.
    """
    longest: dict[Mix, PlannedRun] = {}
    for run in plan.runs:
        mix = run.spec.mix
        if mix is None or run.spec.kind == "trunk":
            continue
        other = longest.setdefault(mix, run)
        if run.spec.tokens > other.spec.tokens:
            longest[mix] = run
    if not longest:
        return []
    lines = [f"mixture: {mix.text}; {_component_epochs(run)}" for mix, run in longest.items()]
    if any(not mix.shares_trunk for mix in longest):
        lines.append(
            "  a mixture that changes at a share of the run gives every horizon other sequences:"
            " each is trained from step 0, none from a trunk"
        )
    elif any(mix.of_trunk != mix for mix in longest):
        lines.append(
            "  a mixture that changes at the start of the cooldown leaves the trunk as it is: all"
            " horizons, and arms that differ in the cooldown's mixture alone, branch from one"
        )
    return lines


def _component_epochs(run: PlannedRun) -> str:
    epochs = run.component_epochs
    if not epochs:
        return "epochs of its components unknown until the data are prepared"
    each = ", ".join(f"{name} {epochs_text(count)}" for name, count in epochs.items())
    return f"epochs at {format_count(run.spec.tokens)} tokens: {each}"


def _notes(plan: Plan) -> list[str]:
    """Say how the table counts: the architectures' own notes, and the notes that hold for all."""
    models = dict.fromkeys(run.spec.model for run in plan.runs)
    notes = (line for model in models for line in architecture_of(model).notes)
    return [*dict.fromkeys(notes), *_CONVENTIONS]


_CONVENTIONS = (
    "the h in a name is the run's horizon: the config's tokens, in whole steps of the batch",
    "a branch's tokens, epochs and steps count from its trunk's step 0; its FLOPs and time only"
    " what it adds",
)


@lru_cache(maxsize=4096)
def _params(model: Model) -> tuple[str, str, str]:
    params = count_params(model)
    return (
        format_count(params.non_embedding),
        format_count(params.matmul),
        format_count(params.total),
    )


def _row(run: PlannedRun) -> tuple[str, ...]:
    spec = run.spec
    return (
        ("  " if spec.branch else "") + spec.label,
        *_params(spec.model),
        format_count(spec.tokens),
        epochs_text(run.epochs),
        format_count(spec.batch_tokens),
        str(spec.total_steps) if spec.branch is None else f"{spec.start_step}..{spec.total_steps}",
        *_rates(spec),
        f"{run.flops_spent:.2e}",
        format_bytes(run.memory_bytes),
        format_seconds(run.seconds),
    )


def _rates(spec: RunSpec) -> tuple[str, str, str]:
    """The peak learning rate, beta2 and the steps of the warm-up."""
    if spec.is_solved:
        return "-", "-", "-"
    beta2 = "-" if spec.optim.beta2 is None else f"{spec.optim.beta2:g}"
    return f"{spec.optim.lr:.3g}", beta2, str(spec.schedule.warmup_steps)


def epochs_text(epochs: float | None) -> str:
    """Passes over the training text as the tables show them; ``?`` while they are unknown."""
    if epochs is None:
        return "?"
    return f"{epochs:.0f}" if epochs >= 100 else f"{epochs:.2g}"


def _kernels(plan: Plan) -> list[str]:
    """Say on one line how many runs have measured kernels; no line where none has."""
    count = sum(run.resources.kernels is not None for run in plan.runs)
    if not count:
        return []
    return [
        f"kernels: of {count} of {count_of(len(plan.runs), 'run')} the fastest for their shape, as"
        " measured (slaw hardware)"
    ]


def _totals(plan: Plan) -> list[str]:
    trunks = sum(run.spec.kind == "trunk" for run in plan.runs)
    limit = ""
    if plan.time_limit_seconds is not None:
        limit = f" (limit {format_seconds(plan.time_limit_seconds)})"
    return [
        f"{plan.name}: {count_of(len(plan.runs), 'run')}: {plan.points_words},"
        f" {count_of(trunks, 'trunk')}; {_train_split(plan)}",
        f"device: {plan.device_name} ({plan.device_kind}), {plan.slots} at once,"
        f" {plan.precision} ({plan.precision_reason})",
        *arm_lines(plan),
        *mix_lines(plan),
        _optim(plan),
        *parts_words(plan),
        *rounding_words(plan),
        *early_stop_words(plan),
        f"compute: {plan.flops_total:.3g} FLOPs, against {plan.flops_if_from_scratch:.3g} with"
        f" each point trained from scratch: branching saves {plan.saving_frac:.0%}",
        *growth_words(plan),
        *_stacks(plan),
        *compiled_words(plan),
        *parallel_words(plan),
        *_kernels(plan),
        f"time: about {format_seconds(plan.seconds_estimate)}{limit};"
        f" memory: at most {format_bytes(_peak_bytes(plan))}"
        f" (limit {format_bytes(plan.memory_limit_bytes)});"
        f" disk: {format_bytes(plan.disk_bytes)}",
        *_trainer_words(plan),
        saved_weights_text(plan),
    ]


def _trainer_words(plan: Plan) -> list[str]:
    """Say that time and memory are not those of a command of the user's own."""
    if all(run.spec.trainer is None for run in plan.runs):
        return []
    return [
        "trainer: a command of your own; time, memory, disk and precision above are those of"
        " slaw's own trainer, params and FLOPs those of the config's architecture until the command"
        " states its own"
    ]


def _train_split(plan: Plan) -> str:
    """Describe the training data."""
    first = plan.runs[0].spec
    different = len({run.spec.data for run in plan.runs})
    if different > 1:
        return f"{different} data sets"
    if not isinstance(first.data, TaskSpec):
        if plan.train_tokens is None:
            return "not prepared yet: epochs unknown"
        return f"{format_count(plan.train_tokens)} training tokens"
    n_ctx = first.model.n_ctx
    if plan.train_tokens is None:
        return f"{first.data.name}: every training example, {count_of(n_ctx, 'token')} each, is new"
    examples = plan.train_tokens // n_ctx
    return (
        f"{first.data.name}: {examples:,} training examples of {count_of(n_ctx, 'token')}, repeated"
        " as often as the horizons say"
    )


def _stacks(plan: Plan) -> list[str]:
    stacks = Counter(run.resources.stack for run in plan.runs if run.resources.stack)
    if not stacks:
        return []
    largest = max(stacks.values())
    return [
        f"stacking: {stacks.total()} runs of one shape each as {len(stacks)} programs, at most"
        f" {largest} together (stacking: off trains each alone); the time of a run is its share of"
        " its program's"
    ]


def parts_words(plan: Plan) -> list[str]:
    """The parts that are not the default ones, on a line; none where all are."""
    chosen = chosen_parts(run.spec for run in plan.runs)
    if not chosen:
        return []
    # a run has every probe, and the corpus of every source; of the other kinds one part
    together = {
        word for run in plan.runs for word, own in parts_of(run.spec).items() if len(own) > 1
    }
    each = [
        f"{word} {(', ' if word in together else ' or ').join(names)}"
        for word, names in chosen.items()
    ]
    return [f"parts: {'; '.join(each)}"]


def rounding_words(plan: Plan) -> list[str]:
    """Say on one line that number formats are simulated; no line where no run has one."""
    rounded = [run.spec.number_format for run in plan.runs if run.spec.number_format is not None]
    if not rounded:
        return []
    parts_used = (parts.load("number_format", one.reference) for one in dict.fromkeys(rounded))
    slowest = max(part.slowdown for part in parts_used)
    return [
        f"number formats: of {len(rounded)} of {count_of(len(plan.runs), 'run')}, simulated by"
        f" rounding: they save neither memory nor time, and a step takes up to {slowest:g} times as"
        " long (in the time below)"
    ]


def early_stop_words(plan: Plan) -> list[str]:
    """Say on one line how many runs may end early; no line where none may."""
    stops = [run.spec.early_stop for run in plan.runs if run.spec.early_stop]
    if not stops:
        return []
    return [
        f"early stop: allowed to {len(stops)} of the points, once their loss is predicted within"
        f" {100 * stops[0].within:g}% at 90%; cost and time are without it"
    ]


def growth_words(plan: Plan) -> list[str]:
    """Say on one line how many runs start from a smaller model's weights; no line for none."""
    grown = [run.spec for run in plan.runs if run.spec.growth]
    if not grown:
        return []
    points = sum(spec.kind != "trunk" for spec in grown)
    return [
        f"growth: {points} of the points start from a smaller size's trunk, whose tokens and FLOPs"
        " their own do not count; fits leave them out (--keep grown)"
    ]


def parallel_words(plan: Plan) -> list[str]:
    """Say on one line which devices train each run; no line where each has one of its own."""
    speeds: dict[Parallel, list[float | None]] = defaultdict(list)
    for run in plan.runs:
        speeds[run.resources.devices_of(run.spec)].append(run.speedup)
    lines = [
        f"devices: each run {one}; memory is that of one device, and the time {_speedup_words(own)}"
        for one, own in speeds.items()
        if one.devices > 1
    ]
    if any(run.resources.resume_on is not None for run in plan.runs):
        lines.append(
            "  resumed on other devices than before, a run's bits are others; its record says so"
        )
    return lines


def _speedup_words(speedups: Sequence[float | None]) -> str:
    measured = [speedup for speedup in speedups if speedup is not None]
    ideal = "assumes ideal scaling over them, not measured"
    if not measured:
        return ideal
    ends = dict.fromkeys(f"{end:.2g}" for end in (min(measured), max(measured)))
    words = f"is theirs as measured, {' to '.join(ends)} times one's speed"
    others = len(speedups) - len(measured)
    return f"{words}; for {count_of(others, 'run')} it {ideal}" if others else words


def _peak_bytes(plan: Plan) -> int:
    """Return the memory of the largest runs or stacks of runs, one on each slot.

    A run of several devices has as many slots.
    """
    needed = {
        run.resources.stack or run.run_id: [run.memory_bytes]
        * run.resources.devices_of(run.spec).devices
        for run in plan.runs
    }
    each = sorted((size for sizes in needed.values() for size in sizes), reverse=True)
    return sum(each[: plan.slots])


def _left_out(plan: Plan) -> list[str]:
    if not plan.left_out:
        return ["left out: nothing"]
    lines = [f"left out: {count_of(len(plan.left_out), 'point')}"]
    reasons: dict[str, list[str]] = {}
    for item in plan.left_out:
        reasons.setdefault(item.reason, []).append(item.label)
    for reason, labels in reasons.items():
        lines.append(f"  {reason}:")
        wrapped = textwrap.wrap(" ".join(labels), _WIDTH, break_on_hyphens=False)
        lines += [f"    {line}" for line in wrapped]
    return lines


def _optim(plan: Plan) -> str:
    """Describe the rule of the runs, and the settings that all share or that arms vary."""
    solved = [run.spec for run in plan.runs if run.spec.is_solved]
    specs = [run.spec for run in plan.runs if not run.spec.is_solved]
    if not specs:
        return "optimiser: none; all runs are solved in closed form, without a schedule"
    rules = listed(list(dict.fromkeys(spec.optim.rule_text for spec in specs)), 2)
    decay = _each(f"{spec.optim.weight_decay:g}" for spec in specs)
    clip = _each(
        "none" if spec.optim.grad_clip is None else f"{spec.optim.grad_clip:g}" for spec in specs
    )
    cooling = {spec.schedule.shape for spec in specs if spec.schedule.decay_steps is not None}
    schedules = _each(
        f"{spec.schedule.shape}, {spec.schedule.cooldown} cooldown"
        if spec.schedule.shape in cooling
        else spec.schedule.shape
        for spec in specs
    )
    none = f"; none for {count_of(len(solved), 'run')} solved in closed form" if solved else ""
    return (
        f"optimiser: LR, beta2, warm-up by {rules}; weight decay {decay}, clip {clip};"
        f" schedule {schedules}{none}"
    )


def _each(words: Iterable[str]) -> str:
    """Join the different words, in order."""
    return " or ".join(dict.fromkeys(words))
