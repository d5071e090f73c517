"""Makes plain `pytest` use the trainer's plugin, also where the package is not installed."""

pytest_plugins = ["dojo.engine.plugin"]
