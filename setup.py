"""Which packages a wheel holds: those of ``scaling_law/``, and the folders that ship beside it."""

from setuptools import find_packages, setup

SHIPPED = {
    "scaling_law.shipped.configs": "configs",
    "scaling_law.shipped.experiments": "experiments",
}

setup(
    packages=[*find_packages(include=["scaling_law", "scaling_law.*"]), *SHIPPED],
    package_dir=SHIPPED,
)
