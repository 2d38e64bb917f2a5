"""`traffic-gen schema`: what a results file or a scenario file may hold, as JSON Schema.

Takes     which of the two
Gives     the schema on stdout, made from the classes that read the file
Not here  how a document is read (measure.codec), the options that a scenario may set (options)
"""

import json
from typing import Any, Final

import click

from trafficgen.cli.grouped import GroupedCommand
from trafficgen.cli.scenario import KINDS, known_options
from trafficgen.errors import ExitCode

EPILOG: Final = """\
Example:

\b
  traffic-gen schema results
"""

_DRAFT: Final = "https://json-schema.org/draft/2020-12/schema"


@click.command("schema", cls=GroupedCommand, epilog=EPILOG)
@click.argument("what", type=click.Choice(["scenario", "results"]), default="scenario")
def command(what: str) -> ExitCode:
    """Print the JSON Schema of scenario files, or of results files."""
    from trafficgen.measure.results import Results

    schema = Results.schema() if what == "results" else scenario_schema()
    click.echo(json.dumps(schema, indent=2, ensure_ascii=False))
    return ExitCode.DONE


def scenario_schema() -> dict[str, Any]:
    """From the options of `send` themselves."""
    from trafficgen.cli.send import command as send

    return {
        "$schema": _DRAFT,
        "title": "A scenario of traffic-gen (TOML)",
        "type": "object",
        "additionalProperties": False,
        "properties": {name: _property(option) for name, option in known_options(send.params).items()}
        | {"phase": {"description": "Parts of the run, in this order.", "type": "array", "items": _PHASE}},
    }


_PHASE: Final = {
    "type": "object",
    "required": ["kind", "duration"],
    "additionalProperties": False,
    "properties": {
        "kind": {"description": "Verdicts are made from the steady phase.", "enum": list(KINDS)},
        "duration": {"description": "Such as 30s or 5m.", "type": "string"},
        "rate": {"description": "Such as 100/s; of warm-up and steady.", "type": "string"},
    },
}


def _property(option: click.Option) -> dict[str, Any]:
    described: dict[str, Any] = {"description": option.help or ""}
    if option.is_flag:
        return described | {"type": "boolean"}
    if option.multiple:
        one = {"type": ["string", "number"]}
        return described | {"anyOf": [one, {"type": "array", "items": one}]}
    if isinstance(option.type, click.Choice):
        return described | {"enum": list(option.type.choices)}
    whole = isinstance(option.type, click.types.IntParamType)
    return described | {"type": "integer" if whole else ["string", "number"]}
