# Completion of tranche for bash. The program itself tells its commands and their options.
_tranche() {
    local current=$2 previous=$3 program=${COMP_WORDS[0]} word words
    COMPREPLY=()
    case $previous in
    --provider) words='openai azure' ;;
    -c | --config | --ssl_*file_path | -o | --output | --to | --from)
        mapfile -t COMPREPLY < <(compgen -f -- "$current")
        return
        ;;
    *)
        if [[ $current == -* ]]; then
            word=
            [ "$COMP_CWORD" -lt 2 ] || [[ ${COMP_WORDS[1]} == -* ]] || word=${COMP_WORDS[1]}
            # shellcheck disable=SC2086
            words=$("$program" $word --help 2>/dev/null | grep -oE -- '--[a-z][a-z_-]*' | sort -u)
        elif [ "$COMP_CWORD" -eq 1 ]; then
            words=$("$program" --help 2>/dev/null | sed '/^$/q' | grep -oE 'tranche \[?[a-z-]+' | grep -oE '[a-z-]+$' | sort -u)
        else
            mapfile -t COMPREPLY < <(compgen -f -- "$current")
            return
        fi
        ;;
    esac
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
}
complete -o filenames -F _tranche tranche
