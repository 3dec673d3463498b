"""Find the components of the texts that a sweep reads in a mixture, and check that it can."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from scaling_law.config.sweep_config import SweepConfig
from scaling_law.data.access import DataOf
from scaling_law.data.component_files import add_components
from scaling_law.data.dataset import Dataset
from scaling_law.data.mixture import components_problem
from scaling_law.data.text import TextDataset
from scaling_law.errors import ConfigError
from scaling_law.spec.data import DataSpec


def components_of(
    config: SweepConfig, datasets: Mapping[DataOf, Dataset], say: Callable[[str], None]
) -> dict[DataOf, dict[str, int]]:
    """Return the training tokens of each component, of the data that arms read in a mixture.

    Raises ``ConfigError`` where a mixture cannot be read or scored.
    """
    components: dict[DataOf, dict[str, int]] = {}
    for arm in config.arms:
        mix, spec = arm.config.mix, arm.config.data_spec
        if mix is None:
            continue
        dataset = datasets[spec]
        assert isinstance(dataset, TextDataset) and isinstance(spec, DataSpec)
        add_components(spec, dataset.folder, say)
        if problem := components_problem(dataset, mix, arm.config.n_ctx):
            raise ConfigError(f"{arm.config.mix_place}: {problem}")
        components[spec] = {name: row["train"] for name, row in dataset.components.items()}
    return components
