"""Environments of the programs under test."""

import os


def without_settings():
    """This process's environment without its `PIPECAST_` variables: those belong to the tests."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PIPECAST_")}
