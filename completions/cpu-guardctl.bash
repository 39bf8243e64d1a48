# bash completion for cpu-guardctl; the answers come quoted as the line needs them

_cpu_guardctl() {
    local line
    COMPREPLY=()
    while IFS= read -r line; do
        case $line in
            plain,*) COMPREPLY+=("${line#plain,}") ;;
            file,*) compopt -o default ;;
            dir,*) compopt -o dirnames ;;
        esac
    done < <(COMP_LINE=${COMP_LINE:0:COMP_POINT} COMP_WORDBREAKS=$COMP_WORDBREAKS \
        _CPU_GUARDCTL_COMPLETE=readline_complete "$1" 2>/dev/null)
}

complete -o nosort -F _cpu_guardctl cpu-guardctl
