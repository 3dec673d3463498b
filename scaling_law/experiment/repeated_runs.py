"""The runs that read some of their text again, beside runs that read each token once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from scaling_law.experiment.crossing import amount_for, crossing
from scaling_law.experiment.evidence import Evidence
from scaling_law.experiment.groups import of_one_recipe, of_one_size
from scaling_law.experiment.repeats import fit_read_off
from scaling_law.experiment.seeds import Mean
from scaling_law.experiment.text_amounts import amount_read
from scaling_law.spec.data import DataSpec

BySeed = Mapping[int, float]


@dataclass(frozen=True)
class RepeatedRuns:
    """What the runs show.

    ``new`` are losses in nats per token, by tokens read and seed, where each was read once;
    ``again`` those by (different tokens, tokens read), where some were read more often.
    """

    new: Mapping[int, BySeed]
    again: Mapping[tuple[int, int], BySeed]

    @property
    def amounts(self) -> list[int]:
        """The amounts of different tokens that runs read again."""
        return sorted({unique for unique, _ in self.again})

    @property
    def losses(self) -> dict[tuple[float, float], BySeed]:
        """The losses of all settings, by (different tokens, tokens read)."""
        new = {(float(tokens), float(tokens)): by for tokens, by in self.new.items()}
        return new | {(float(u), float(d)): by for (u, d), by in self.again.items()}

    def up_to(self, epochs: float) -> dict[tuple[float, float], BySeed]:
        """The losses of settings of at most so many epochs."""
        return {key: by for key, by in self.losses.items() if key[1] <= epochs * key[0]}

    def worth(self, unique: int, tokens: int) -> dict[int, float]:
        """The new tokens that end at a repeated run's loss, by seed; only where runs show them.

        They are read off straight lines between the runs on new text, in logarithms.
        """
        values = {}
        for seed, loss in sorted(self.again[unique, tokens].items()):
            curve = {float(d): by[seed] for d, by in self.new.items() if seed in by}
            if (worth := amount_for(curve, loss)) is not None:
                values[seed] = worth
        return values

    def read_off(self, epochs: float) -> Mean | str:
        """R_D* as settings of up to so many epochs give it without a law of loss, or why none."""
        worths: dict[int, list[tuple[float, float]]] = {}
        for unique, tokens in sorted(self.again):
            if tokens <= epochs * unique:
                for seed, worth in self.worth(unique, tokens).items():
                    worths.setdefault(seed, []).append((tokens / unique, worth / unique))
        return fit_read_off(worths)

    def excess(self, unique: int, tokens: int) -> list[float]:
        """By what share the loss is above that of as many new tokens, of each seed with both."""
        mine, new = self.again[unique, tokens], self.new.get(tokens, {})
        return [mine[seed] / new[seed] - 1 for seed in sorted(mine) if seed in new]

    @property
    def excesses(self) -> dict[tuple[int, int], list[float]]:
        """The excesses of all settings that have one."""
        values = {key: self.excess(*key) for key in sorted(self.again)}
        return {key: value for key, value in values.items() if value}

    def near(self, unique: int, share: float) -> list[float] | str:
        """The epochs up to which repeats are within ``share`` of new text, or why unknown.

        One number for each seed.
        """
        epochs = []
        for seed in sorted({seed for by in self.new.values() for seed in by}):
            curve = [
                (tokens / unique, by[seed] / self.new[tokens][seed] - 1)
                for (u, tokens), by in self.again.items()
                if u == unique and seed in by and seed in self.new.get(tokens, {})
            ]
            if not curve:
                continue
            last = crossing([(1.0, 0.0), *curve], share)
            if last is None:
                return f"more than {max(curve)[0]:.3g}"
            epochs.append(last)
        return epochs or "no seed has both runs"


def read_repeated(evidence: Evidence) -> RepeatedRuns:
    """Return the losses of the runs on text, of one size and recipe."""
    new: dict[int, dict[int, float]] = {}
    again: dict[tuple[int, int], dict[int, float]] = {}
    for run in of_one_size(of_one_recipe(evidence.ended)):
        loss, spec = run.record.val_loss_nats, run.spec
        if not isinstance(spec.data, DataSpec) or loss is None:
            continue
        unique = amount_read(run)
        if unique is None:
            new.setdefault(spec.tokens, {})[spec.seed] = loss
        elif spec.tokens > unique:
            again.setdefault((unique, spec.tokens), {})[spec.seed] = loss
    return RepeatedRuns(new, again)
