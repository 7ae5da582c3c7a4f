"""`gatepost completion SHELL`: a script that has bash, zsh or fish complete `gatepost` and the operator commands.

The script holds the whole tree of words, so that a Tab starts no Python. Standard output; to be put where the shell
looks for it, which its first lines say.
"""

import argparse
from collections.abc import Iterable

from core.errors import EX_OK
from daemons.shell.grammar import ANY, FILE, Node, grammar

SHELLS = ("bash", "zsh", "fish")
_NAME = "gatepost"


def add_arguments(sub: argparse.ArgumentParser) -> None:
    """Describe the command."""
    sub.add_argument("shell", choices=SHELLS, help="the shell that the script is for")
    sub.set_defaults(action=_print)


def _print(args: argparse.Namespace) -> int:
    print(script(args.shell, grammar()), end="")
    return EX_OK


def script(shell: str, root: Node) -> str:
    """Give the script for one of `SHELLS`."""
    return {"bash": _bash, "zsh": _zsh, "fish": _fish}[shell](root)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


def _paths(root: Node) -> list[tuple[str, Node]]:
    return [(" ".join(path), node) for path, node in root.walk()]


def _rows(root: Node) -> Iterable[tuple[str, list[tuple[str, str]]]]:
    """Give for each path the words that may follow, with their meaning."""
    for path, node in _paths(root):
        words = {word: child.text for word, child in node.children.items() if word != ANY}
        words |= {word: text for word, text in node.words.items() if word not in words}
        words |= {flag: option.text for flag, option in node.options.items()}
        yield path, list(words.items())


def _values(root: Node) -> dict[str, tuple[str, ...]]:
    """Give the options that take a value: by path and option, the choices."""
    return {
        f"{path} {flag}".strip(): option.choices
        for path, node in _paths(root)
        for flag, option in node.options.items()
        if option.value
    }


def _case(rows: Iterable[tuple[str, str]]) -> str:
    return "".join(f"        {_quoted(path)}) {action} ;;\n" for path, action in rows)


def _bourne(root: Node) -> str:
    """Give what bash and zsh have in common: a function that follows the words and sets `_gatepost_path`."""
    values = _values(root)
    known = _case((path, ":") for path, _ in _paths(root) if path)
    words = _case(
        (path, f"_gatepost_reply={_quoted(chr(10).join(f'{word}{chr(9)}{_line(text)}' for word, text in rows))}")
        for path, rows in _rows(root)
    )
    taken = _case(
        (path, f"_gatepost_reply={_quoted('FILE' if choices == FILE else chr(10).join(choices))}")
        for path, choices in values.items()
    )
    return f"""_gatepost_known() {{
    case "$1" in
{known}        *) return 1 ;;
    esac
}}

_gatepost_follow() {{
    # $@: the words before the one that is completed. Sets _gatepost_path and _gatepost_option.
    local word next
    _gatepost_path=''
    _gatepost_option=''
    for word in "$@"; do
        if [ -n "$_gatepost_option" ]; then
            _gatepost_option=''
            continue
        fi
        case "$word" in
            -*)
                if _gatepost_value "${{_gatepost_path:+$_gatepost_path }}$word"; then _gatepost_option="$word"; fi
                continue
                ;;
        esac
        next="${{_gatepost_path:+$_gatepost_path }}$word"
        if _gatepost_known "$next"; then
            _gatepost_path="$next"
        elif _gatepost_known "${{_gatepost_path:+$_gatepost_path }}*"; then
            _gatepost_path="${{_gatepost_path:+$_gatepost_path }}*"
        fi
    done
}}

_gatepost_words() {{
    _gatepost_reply=''
    case "$1" in
{words}    esac
}}

_gatepost_value() {{
    _gatepost_reply=''
    case "$1" in
{taken}        *) return 1 ;;
    esac
}}
"""


def _line(text: str) -> str:
    return " ".join(text.split())


def _bash(root: Node) -> str:
    return f"""# bash completion for {_NAME}: put this into ~/.local/share/bash-completion/completions/{_NAME}
# or /usr/share/bash-completion/completions/{_NAME}. Made by `{_NAME} completion bash`.

{_bourne(root)}
_gatepost() {{
    local current="${{COMP_WORDS[COMP_CWORD]}}" word _gatepost_path _gatepost_option _gatepost_reply
    COMPREPLY=()
    _gatepost_follow "${{COMP_WORDS[@]:1:COMP_CWORD-1}}"
    if [ -n "$_gatepost_option" ]; then
        _gatepost_value "${{_gatepost_path:+$_gatepost_path }}$_gatepost_option"
        if [ "$_gatepost_reply" = FILE ]; then
            compopt -o filenames 2>/dev/null
            while IFS= read -r word; do COMPREPLY+=("$word"); done < <(compgen -f -- "$current")
            return
        fi
    else
        _gatepost_words "$_gatepost_path"
    fi
    while IFS=$'\\t' read -r word _; do
        case "$word" in
            '') ;;
            -*) case "$current" in -*) [[ $word == "$current"* ]] && COMPREPLY+=("$word") ;; esac ;;
            "$current"*) COMPREPLY+=("$word") ;;
        esac
    done <<< "$_gatepost_reply"
}}

complete -F _gatepost {_NAME}
"""


def _zsh(root: Node) -> str:
    return f"""#compdef {_NAME}
# zsh completion for {_NAME}: put this as `_{_NAME}` into a folder of $fpath. Made by `{_NAME} completion zsh`.

{_bourne(root)}
_gatepost() {{
    local _gatepost_path _gatepost_option _gatepost_reply row
    local -a before found
    before=("${{(@)words[2,CURRENT-1]}}")
    _gatepost_follow "${{before[@]}}"
    if [[ -n $_gatepost_option ]]; then
        _gatepost_value "${{_gatepost_path:+$_gatepost_path }}$_gatepost_option"
        if [[ $_gatepost_reply == FILE ]]; then
            _files
            return
        fi
    else
        _gatepost_words "$_gatepost_path"
    fi
    for row in "${{(@f)_gatepost_reply}}"; do
        [[ -n $row ]] || continue
        [[ $row == -* && $PREFIX != -* ]] && continue
        found+=("${{${{row%%$'\\t'*}}//:/\\\\:}}:${{row#*$'\\t'}}")
    done
    _describe -t words word found
}}

if [[ $funcstack[1] == _gatepost ]]; then
    _gatepost "$@"
else
    compdef _gatepost {_NAME}
fi
"""


def _fish(root: Node) -> str:
    paths = " ".join(_quoted(_placed(path)) for path, _ in _paths(root) if path)
    values = _values(root)
    takers = " ".join(_quoted(_placed(path)) for path in values)
    files = " ".join(_quoted(_placed(path)) for path, choices in values.items() if choices == FILE)
    words = "".join(
        f"        case {_quoted(_placed(path))}\n            printf '%s\\t%s\\n' {_pairs(rows)}\n"
        for path, rows in _rows(root)
        if rows
    )
    choices = "".join(
        f"        case {_quoted(_placed(path))}\n            printf '%s\\n' {' '.join(map(_quoted, given))}\n"
        for path, given in values.items()
        if given and given != FILE
    )
    return f"""# fish completion for {_NAME}: put this into ~/.config/fish/completions/{_NAME}.fish.
# Made by `{_NAME} completion fish`.

set -g __{_NAME}_paths {paths}
set -g __{_NAME}_values {takers}
set -g __{_NAME}_files {files}

function __{_NAME}_words
    switch $argv[1]
{words}    end
end

function __{_NAME}_choices
    switch $argv[1]
{choices}    end
end
{_FISH}"""


def _placed(path: str) -> str:
    """Give a path without the sign that fish takes for a wildcard."""
    return path.replace(ANY, "%")


def _pairs(rows: Iterable[tuple[str, str]]) -> str:
    return " ".join(f"{_quoted(word)} {_quoted(_line(text))}" for word, text in rows)


_FISH = """
function __gatepost_follow
    # Sets __gatepost_path to the commands before the cursor, and __gatepost_option to an option that waits for a value.
    set -g __gatepost_path ''
    set -g __gatepost_option ''
    set -l words (commandline -opc)
    for word in $words[2..-1]
        if test -n "$__gatepost_option"
            set -g __gatepost_option ''
            continue
        end
        set -l next (string trim -- "$__gatepost_path $word")
        set -l place (string trim -- "$__gatepost_path %")
        if string match -q -- '-*' $word
            if contains -- $next $__gatepost_values
                set -g __gatepost_option $next
            end
        else if contains -- $next $__gatepost_paths
            set -g __gatepost_path $next
        else if contains -- $place $__gatepost_paths
            set -g __gatepost_path $place
        end
    end
end

function __gatepost_complete
    __gatepost_follow
    if test -n "$__gatepost_option"
        __gatepost_choices $__gatepost_option
    else if string match -q -- '-*' (commandline -ct)
        __gatepost_words "$__gatepost_path"
    else
        __gatepost_words "$__gatepost_path" | string match -v -- '-*'
    end
end

function __gatepost_wants_file
    __gatepost_follow
    contains -- "$__gatepost_option" $__gatepost_files
end

complete -c gatepost -f -a '(__gatepost_complete)'
complete -c gatepost -n __gatepost_wants_file -F
"""
