"""Plans made of options of send."""

import pytest

from trafficgen.cli import planning
from trafficgen.cli.options import SendOptions
from trafficgen.cli.send import command as send


def planned(*arguments, environment=None):
    """The plan and notices of a command line."""
    context = send.make_context("send", list(arguments)) if environment is None else _with(environment, arguments)
    return planning.make_plan(SendOptions(**context.params))


def _with(environment, arguments):
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        return send.make_context("send", list(arguments))


def plan_of(*arguments, environment=None):
    return planned(*arguments, environment=environment).plan
