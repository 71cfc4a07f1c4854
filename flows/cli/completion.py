"""`twin completion bash|zsh|fish`: a script that completes commands, options and choices; files where a path is asked for."""

from __future__ import annotations

import argparse

from flows.cli.parsing import options, subparsers

_BASH = """# bash: eval "$(twin completion bash)"; zsh: autoload -U +X bashcompinit && bashcompinit first
_twin() {
    local word="${COMP_WORDS[COMP_CWORD]}" before="${COMP_WORDS[COMP_CWORD-1]}" command="${COMP_WORDS[1]}" words=""
    [ "$COMP_CWORD" -gt 1 ] || command=""
    case "$command/$before" in
%(choices)s
    esac
    [ -n "$words" ] || case "$command" in
%(commands)s
        *) words="%(top)s" ;;
    esac
    COMPREPLY=($(compgen -W "$words" -- "$word"))
    [ ${#COMPREPLY[@]} -gt 0 ] || [ -z "$command" ] || COMPREPLY=($(compgen -f -- "$word"))
}
complete -o filenames -F _twin twin
"""


def completion(args: argparse.Namespace) -> int:
    """Print the script."""
    from flows.cli.main import parser

    print(fish(parser()) if args.shell == "fish" else bash(parser()))
    return 0


def bash(top: argparse.ArgumentParser) -> str:
    """For bash, and zsh with bashcompinit."""
    commands, choices = [], []
    for name, p in subparsers(top).items():
        commands.append(f'        {name}) words="{" ".join([*subparsers(p), *options(p)])}" ;;')
        for action in p._actions:
            if action.choices and action.option_strings:
                pattern = "|".join(f"{name}/{o}" for o in action.option_strings)
                choices.append(f'        {pattern}) words="{" ".join(map(str, action.choices))}" ;;')
    return _BASH % {
        "choices": "\n".join(choices),
        "commands": "\n".join(commands),
        "top": " ".join([*subparsers(top), *options(top)]),
    }


def fish(top: argparse.ArgumentParser) -> str:
    """For fish."""
    lines = ["# twin completion fish > ~/.config/fish/completions/twin.fish"]
    for name, p in subparsers(top).items():
        lines.append(f"complete -c twin -n __fish_use_subcommand -a {name} -d '{_text(p.description)}'")
        for action in p._actions:
            for option in (o for o in action.option_strings if o.startswith("--")):
                values = f" -xa '{' '.join(map(str, action.choices))}'" if action.choices else ""
                lines.append(
                    f"complete -c twin -n '__fish_seen_subcommand_from {name}' -l {option[2:]}{values} -d '{_text(action.help)}'"
                )
    return "\n".join(lines)


def _text(said: str | None) -> str:
    return (said or "").replace("'", "").replace("%%", "%")
