"""What pyproject.toml cannot say: the wheel holds configs/ too, below gptjax/shipped, where `--config` finds them."""

from setuptools import find_namespace_packages, setup
from setuptools.command.build_py import build_py

CONFIGS = "gptjax.shipped.configs"


class BuildPy(build_py):
    def find_package_modules(self, package, package_dir):
        """All but the `__init__.py` of configs: without it, a user's own folder `configs` goes before this one."""
        found = super().find_package_modules(package, package_dir)
        return [module for module in found if (package, module[1]) != (CONFIGS, "__init__")]


setup(
    packages=[*find_namespace_packages(include=["gptjax*"]), CONFIGS],
    package_dir={CONFIGS: "configs"},
    cmdclass={"build_py": BuildPy},
)
