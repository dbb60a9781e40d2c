"""The commands of the chat: what begins with a slash.

A command is a function of the conversation and the words behind it; it prints, and says nothing
else. Texts and streams are those of Ollama, whose users know them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from trillama.base.errors import BadRequest, TrillamaError
from trillama.models.modelfile.meaning import parameters as typed

from .answer import THINK_LEVELS
from .client import ServerRefused
from .conversation import Conversation
from .list import installed
from .show import overview

QUOTES = '"""'
SYSTEM = "/set system "
HELP = f"""Available Commands:
  /set            Set session variables
  /show           Show model information
  /load <model>   Load a session or model
  /save <model>   Save your current session
  /clear          Clear session context
  /list           List models
  /bye            Exit
  /?, /help       Help for a command
  /? shortcuts    Help for keyboard shortcuts

Use {QUOTES} to begin and to end a message of several lines.
"""
SHORTCUTS = """Available keyboard shortcuts:
  Ctrl + a, e     Move to the beginning, the end of the line (Home, End)
  Alt + b, f      Move back, forward by a word
  Ctrl + k, u     Delete the rest, the beginning of the line
  Ctrl + w        Delete the word before the cursor
  Alt + Enter     Begin a new line of the same message
  Ctrl + r        Search the history (Up and Down walk through it)
  Ctrl + l        Clear the screen
  Ctrl + g        Edit the message in an editor
  Tab             Complete a command or the name of a model

  Ctrl + c        Stop the answer
  Ctrl + z        Back to the shell (fg returns)
  Ctrl + d        Exit (/bye)
"""
SET = """Available Commands:
  /set parameter ...     Set a parameter
  /set system <string>   Set system message
  /set history           Enable history
  /set nohistory         Disable history
  /set wordwrap          Enable wordwrap
  /set nowordwrap        Disable wordwrap
  /set markdown          Render Markdown
  /set nomarkdown        Show answers as they are
  /set format json       Enable JSON mode
  /set noformat          Disable formatting
  /set verbose           Show LLM stats
  /set quiet             Disable LLM stats
  /set think [level]     Enable thinking
  /set nothink           Disable thinking
"""
SHOW = """Available Commands:
  /show info         Show details for this model
  /show license      Show model license
  /show modelfile    Show Modelfile for this model
  /show parameters   Show parameters for this model
  /show system       Show system message
  /show template     Show prompt template
"""
PARAMETERS = """Available Parameters:
  /set parameter seed <int>             Random number seed
  /set parameter num_predict <int>      Max number of tokens to predict
  /set parameter top_k <int>            Pick from top k num of tokens
  /set parameter top_p <float>          Pick token based on sum of probabilities
  /set parameter min_p <float>          Pick token based on top token probability * min_p
  /set parameter num_ctx <int>          Set the context size
  /set parameter temperature <float>    Set creativity level
  /set parameter repeat_penalty <float> How strongly to penalize repetitions
  /set parameter repeat_last_n <int>    Set how far back to look for repetitions
  /set parameter num_gpu <int>          The number of layers to send to the GPU
  /set parameter stop <string> ...      Set the stop parameters
"""
NAMES = tuple(line.split()[2] for line in PARAMETERS.splitlines()[1:])
SETTINGS = tuple(line.split()[1] for line in SET.splitlines()[1:])
SHOWN = tuple(line.split()[1] for line in SHOW.splitlines()[1:])
NOTHING = {
    "license": "No license was specified for this model.",
    "system": "No system message was specified for this model.",
    "template": "No prompt template was specified for this model.",
}
Words = Sequence[str]


def obey(talk: Conversation, line: str) -> None:
    """Do what a line that begins with a slash says."""
    name, *words = line.split()
    if line.startswith(SYSTEM):
        return _system(talk, line.removeprefix(SYSTEM).strip())
    command = COMMANDS.get(name)
    return _unknown(name) if command is None else command(talk, words)


def is_command(message: str) -> bool:
    """Whether a message is meant for ``obey``; pasted code may begin with a slash too."""
    name, *_ = message.split() or [""]
    return name in COMMANDS or (name.startswith("/") and "\n" not in message)


def choices(words: Words, models: Callable[[], Sequence[str]]) -> Sequence[str]:
    """What may come behind these words of a command, for completion."""
    match list(words):
        case []:
            return tuple(COMMANDS)
        case ["/set"]:
            return SETTINGS
        case ["/set", "parameter"]:
            return NAMES
        case ["/set", "format"]:
            return ("json",)
        case ["/set", "think"]:
            return THINK_LEVELS
        case ["/show"]:
            return SHOWN
        case ["/?" | "/help"]:
            return ("set", "show", "shortcuts")
        case ["/load" | "/save" | "/list"]:
            return models()
    return ()


def _unknown(what: str) -> None:
    print(f"Unknown command '{what}'. Type /? for help")


def _usage(text: str) -> None:
    print(text, file=sys.stderr)


def _help(_: Conversation, words: Words) -> None:
    topics = {"": HELP, "set": SET, "/set": SET, "show": SHOW, "/show": SHOW}
    topics |= {"shortcut": SHORTCUTS, "shortcuts": SHORTCUTS}
    topic = words[0] if words else ""
    _usage(topics.get(topic, HELP))


def _list(talk: Conversation, words: Words) -> None:
    print(installed(talk.client, *words[:1]), end="")


def _clear(talk: Conversation, _: Words) -> None:
    talk.clear()
    print("Cleared session context")


def _load(talk: Conversation, words: Words) -> None:
    if len(words) != 1:
        return print("Usage:\n  /load <modelname>")
    print(f"Loading model '{words[0]}'")
    try:
        talk.load(words[0])
    except ServerRefused as error:
        missing = error.status == 404
        print(f"Couldn't find model '{words[0]}'" if missing else f"error: {error.reason}")
    return None


def _save(talk: Conversation, words: Words) -> None:
    if len(words) != 1:
        return print("Usage:\n  /save <modelname>")
    try:
        talk.save(words[0])
    except ServerRefused as error:
        invalid = "invalid model name" in error.reason
        reason = f"The model name '{words[0]}' is invalid" if invalid else error.reason
        return print(f"error: {reason}")
    return print(f"Created new model '{words[0]}'")


def _set(talk: Conversation, words: Words) -> None:
    if not words:
        return _usage(SET)
    what, *values = words
    change: dict[str, Any] | None = MODES.get(what)
    if change is not None:
        talk.options = replace(talk.options, **change)
        return print("Disabled format." if what == "noformat" else f"Set '{what}' mode.")
    setter = SETTERS.get(what)
    return setter(talk, values) if setter else _unknown(f"/set {what}")


def _parameter(talk: Conversation, words: Words) -> None:
    if len(words) < 2:
        return _usage(PARAMETERS)
    name, *values = words
    pairs = [(name, value) for value in values]
    try:
        talk.parameters |= typed(pairs if name == "stop" else pairs[:1])
    except BadRequest as error:
        return print(f'Couldn\'t set parameter: "{error.message}"')
    return print(f"Set parameter '{name}' to '{', '.join(values)}'")


def _system(talk: Conversation, text: str) -> None:
    if not text:
        return print("Usage:\n  /set system <string>")
    talk.set_system(text)
    return print("Set system message.")


def _format(talk: Conversation, words: Words) -> None:
    if list(words) != ["json"]:
        return print("Invalid or missing format. For 'json' mode use '/set format json'")
    talk.options = replace(talk.options, format="json")
    return print("Set format to 'json' mode.")


def _think(talk: Conversation, words: Words) -> None:
    level = words[0] if words else ""
    if level and level not in THINK_LEVELS:
        return print(f"Invalid level '{level}': high, medium, low or max")
    talk.options = replace(talk.options, think=level or "true")
    if "thinking" not in (talk.shown.get("capabilities") or ()):
        _usage(f'warning: model "{talk.model}" does not support thinking output')
    return print(f"Set 'think' mode to '{level}'." if level else "Set 'think' mode.")


def _history(talk: Conversation, enabled: bool) -> None:
    talk.history = enabled


def _show(talk: Conversation, words: Words) -> None:
    if not words:
        return _usage(SHOW)
    what = words[0]
    if what not in SHOWN:
        return _unknown(f"/show {what}")
    try:
        shown = talk.show()
    except TrillamaError as error:
        return _usage(f"error: {error.message}")
    if what == "info":
        return _usage(overview(shown))
    if what == "parameters":
        return print(_both(shown.get("parameters") or "", talk.parameters))
    if what == "system" and talk.system:
        return print(f"{talk.system}\n")
    return print(shown.get(what) or NOTHING.get(what, ""), end="\n\n" if what == "system" else "\n")


def _both(of_model: str, of_user: dict[str, Any]) -> str:
    """Parameters of the model and those set in this session."""
    lines = ["Model defined parameters:"]
    lines += [f"  {line}" for line in of_model.splitlines()] or [
        "  No additional parameters were specified for this model."
    ]
    if of_user:
        lines += ["", "User defined parameters:"]
        lines += [f"  {name:<30} {value}" for name, value in of_user.items()]
    return "\n".join([*lines, ""])


MODES: dict[str, dict[str, Any]] = {
    "wordwrap": {"nowordwrap": False},
    "nowordwrap": {"nowordwrap": True},
    "markdown": {"markdown": True},
    "nomarkdown": {"markdown": False},
    "verbose": {"verbose": True},
    "quiet": {"verbose": False},
    "nothink": {"think": "false"},
    "noformat": {"format": ""},
}
SETTERS: dict[str, Callable[[Conversation, Words], None]] = {
    "parameter": _parameter,
    "system": lambda talk, words: _system(talk, " ".join(words)),
    "format": _format,
    "think": _think,
    "history": lambda talk, _: _history(talk, True),
    "nohistory": lambda talk, _: _history(talk, False),
}
COMMANDS: dict[str, Callable[[Conversation, Words], None]] = {
    "/set": _set,
    "/show": _show,
    "/load": _load,
    "/save": _save,
    "/clear": _clear,
    "/list": _list,
    "/?": _help,
    "/help": _help,
}
