"""What a shell is told when Tab is pressed: from a table of all commands, since building one of them takes too long.

The scripts that ask are Typer's (``audiopatch --install-completion``). ``scripts/generate_docs.py`` makes the table.
"""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

TABLE_FILE = "completions.json"  # beside this file
ASKED = "_AUDIOPATCH_COMPLETE"  # set to complete_bash and so on

Choice = tuple[str, str]  # what may be typed, and what it means ("" where that goes without saying)


def answer() -> bool:
    """Print what fits where the cursor is, if a shell asks for that; False where none does."""
    shell = os.environ.get(ASKED, "").removeprefix("complete_")
    if shell not in _FORMS:
        return False
    words, incomplete = _typed(shell)
    found = choices(words, incomplete)
    if os.environ.get("_TYPER_COMPLETE_FISH_ACTION") == "is-args":  # without any, fish offers files
        raise SystemExit(not found)
    print(_FORMS[shell](found))
    return True


def choices(words: Sequence[str], incomplete: str) -> list[Choice]:
    """What may stand after ``words`` (without the program's name) and begins as ``incomplete`` does; else files do."""
    table = json.loads(Path(__file__).with_name(TABLE_FILE).read_text(encoding="utf-8"))
    command, option, n_taken, n_arguments = table["command"], None, 0, 0
    for word in words:
        if option is not None and n_taken < option["takes"]:
            n_taken += 1
        elif word.startswith("-"):
            option, n_taken = command["options"].get(word), 0
        elif not n_arguments and word in command["commands"]:
            command, option = command["commands"][word], None
        elif not n_arguments and command["else"]:
            command, option, n_arguments = command["commands"][command["else"]], None, 1
        else:
            n_arguments += 1
    if option is not None and n_taken < option["takes"]:
        found = [(value, "") for value in table["values"][option["values"]]]
    elif incomplete.startswith("-"):
        found = [(name, about["help"]) for name, about in command["options"].items()]
    else:
        found = [] if n_arguments else [(name, inner["help"]) for name, inner in command["commands"].items()]
        found += [(value, "") for value in table["values"][_argument(command, n_arguments)]]
    return [one for one in found if one[0].lower().startswith(incomplete.lower())]


def _argument(command: dict[str, Any], place: int) -> int:
    """The number of the values of the argument at some place; those of the last one where it takes any number."""
    if command["else"]:
        command = command["commands"][command["else"]]
    arguments = command["arguments"]
    if place < len(arguments):
        return arguments[place]["values"]
    return arguments[-1]["values"] if arguments and arguments[-1]["many"] else 0


def _typed(shell: str) -> tuple[list[str], str]:
    """The whole words before the cursor, and the one that it is in."""
    if shell == "bash":
        words, at = _split(os.environ["COMP_WORDS"]), int(os.environ["COMP_CWORD"])
        return words[1:at], words[at] if at < len(words) else ""
    line = os.environ.get("_TYPER_COMPLETE_ARGS", "")
    words = _split(line)
    if shell in ("powershell", "pwsh"):  # which leaves out the blank behind the last word
        line = os.environ.get("_TYPER_COMPLETE_WORD_TO_COMPLETE", "")
    return (words[1:], "") if not line or line[-1].isspace() else (words[1:-1], words[-1])


def _split(line: str) -> list[str]:
    try:
        return shlex.split(line)
    except ValueError:  # a quotation mark that is still open
        return line.split()


def _bash(found: Sequence[Choice]) -> str:
    return "\n".join(re.sub(r"([^\w@%+=:,./-])", r"\\\1", value) for value, _ in found)


def _zsh(found: Sequence[Choice]) -> str:
    """A line for eval; in it a colon parts a value from its meaning."""
    if not found:
        return "_files"
    items = (value.replace(":", r"\:") + (f":{meaning}" if meaning else "") for value, meaning in found)
    return f"local -a found=({' '.join(map(shlex.quote, items))}); _describe '' found"


def _fish(found: Sequence[Choice]) -> str:
    return "\n".join(f"{value}\t{meaning}" if meaning else value for value, meaning in found)


def _powershell(found: Sequence[Choice]) -> str:
    return "\n".join(f"{value}:::{meaning or ' '}" for value, meaning in found)


_FORMS = {"bash": _bash, "zsh": _zsh, "fish": _fish, "powershell": _powershell, "pwsh": _powershell}


def table(command: Any) -> dict[str, Any]:
    """Everything that can be typed, of the whole program's ``command``; lists of values stand in it once, by number."""
    values: list[tuple[str, ...]] = [()]

    def number(param: Any, context: Any) -> int:
        found = tuple(getattr(item, "value", item) for item in param.shell_complete(context, ""))
        found = () if found == ("",) else found  # of files and folders, which the shell knows itself
        if found not in values:
            values.append(found)
        return values.index(found)

    def described(command: Any, name: str) -> dict[str, Any]:
        context = command.make_context(name, [], resilient_parsing=True)
        params = command.get_params(context)
        options: dict[str, Any] = {}
        for param in (one for one in params if one.param_type_name == "option"):
            takes = 0 if param.is_flag else param.nargs
            about = {"help": _sentence(param.help), "takes": takes, "values": number(param, context)}
            names = [*sorted(param.opts), *param.secondary_opts]  # sorted: --help has its names from a set
            options |= dict.fromkeys(names, about)
        arguments = [
            {"values": number(param, context), "many": param.nargs < 0}
            for param in params
            if param.param_type_name == "argument"
        ]
        return {
            "help": _sentence(command.help),
            "options": options,
            "arguments": arguments,
            "commands": {sub: described(inner, sub) for sub, inner in _below(command, context)},
            "else": getattr(command, "otherwise", ""),
        }

    return {"command": described(command, "audiopatch"), "values": values}


def _below(command: Any, context: Any) -> Iterator[tuple[str, Any]]:
    for name in command.list_commands(context) if hasattr(command, "list_commands") else ():
        yield name, command.get_command(context, name)


def _sentence(text: str | None) -> str:
    """The first sentence of a help text, without markup."""
    first = re.split(r"(?<=[.]) |\n\n", " ".join((text or "").split(" ")), maxsplit=1)[0]
    return " ".join(re.sub(r"\[/?\w+\]", "", first).split())
