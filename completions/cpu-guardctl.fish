# fish completion for cpu-guardctl; fish quotes what is inserted

function __cpu_guardctl_complete
    set -lx COMP_LINE (commandline -cp | string collect)
    set -lx _CPU_GUARDCTL_COMPLETE line_complete
    for answer in (cpu-guardctl 2>/dev/null)
        set -l parts (string split -m 1 , -- $answer)
        switch $parts[1]
            case plain
                printf '%s\n' $parts[2]
            case file
                __fish_complete_path $parts[2]
            case dir
                __fish_complete_directories $parts[2]
        end
    end
end

complete --command cpu-guardctl --no-files --arguments '(__cpu_guardctl_complete)'
