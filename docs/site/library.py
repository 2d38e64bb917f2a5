"""The page of the library, from its docstrings.

Takes     packages whose `__all__` names what is public
Gives     Markdown: the package's own story, then each name with its signature, its docstring and its public methods
"""

import enum
import inspect
import re
from types import ModuleType

_DOCTEST = re.compile(r"^( *>>> .*(?:\n(?! *$).*)*)", re.MULTILINE)
_ENTRY = re.compile(r"^(`[\w.]+`)\s{2,}", re.MULTILINE)


def page_of(*packages: ModuleType) -> str:
    """Everything that is public, package by package, names by the alphabet."""
    return "\n\n".join(part for package in packages for part in _package(package))


def _package(package: ModuleType) -> list[str]:
    public = {name: getattr(package, name) for name in sorted(package.__all__, key=str.lower)}
    documented = {name: found for name, found in public.items() if inspect.isclass(found) or inspect.isroutine(found)}
    names = ", ".join(f"[`{name}`](#{name.lower()})" for name in documented)
    return [
        f"## {package.__name__}", _markdown(package), f"Names: {names}.",
        *(part for name, found in documented.items() for part in _name(name, found)),
    ]  # fmt: skip


def _name(name: str, found: object) -> list[str]:
    parts = [f"### {name}"]
    if inspect.isclass(found) and issubclass(found, enum.Enum):
        parts.append("One of " + ", ".join(f"`{member.name}`" for member in found) + ".")
    elif not (inspect.isclass(found) and issubclass(found, Exception)):
        parts.append(f"```python\n{_signature(name, found)}\n```")
    parts.append(_markdown(found))
    if inspect.isclass(found):
        for member, what in vars(found).items():
            function = what.fget if isinstance(what, property) else getattr(what, "__func__", what)
            if not member.startswith("_") and inspect.isfunction(function) and function.__doc__:
                shown = f"{name}.{member}" if isinstance(what, property) else _signature(f"{name}.{member}", function)
                parts += [f"```python\n{shown}\n```", _markdown(function)]
    return parts


def _signature(name: str, found: object) -> str:
    try:
        text = f"{name}{inspect.signature(found)}"  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return name
    text = re.sub(r"\b(?:trafficgen|mboxgen|collections\.abc|pathlib|typing)(?:\.\w+)*\.(?=\w)", "", text).replace(
        "'", ""
    )
    if len(text) <= 100:
        return text
    inner = inspect.signature(found).parameters.values()  # type: ignore[arg-type]
    plain = [
        re.sub(r"\b(?:trafficgen|mboxgen|collections\.abc|pathlib|typing)(?:\.\w+)*\.(?=\w)", "", str(one))
        for one in inner
    ]
    return f"{name}(\n" + "".join(f"    {one},\n".replace("'", "") for one in plain) + ")"


def _markdown(found: object) -> str:
    """Its docstring, in which sessions of Python and lists of names become what they are in Markdown."""
    text = inspect.getdoc(found) or ""
    return _ENTRY.sub(r"- \1 ", _DOCTEST.sub(r"```pycon\n\1\n```", text))
