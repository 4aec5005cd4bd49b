# tranche(1): what `tranche --help` says goes into the page where %SYNOPSIS% and %COMMANDS% stand:
#   tranche --help | awk -v page=tranche.1.in -f commands.awk
function roff(text) {
    gsub(/\\/, "\\e", text)
    gsub(/-/, "\\-", text)
    return text
}
/^$/ { block++; next }
block == 0 { # usage: tranche ...
    sub(/^(usage:)? */, "")
    synopsis = synopsis roff($0) "\n"
}
block == 1 && /^  [a-z]/ {
    name = text = $0
    sub(/^ */, "", name)
    sub(/  .*/, "", name)
    sub(/^ *[^ ].*  +/, "", text)
    commands = commands ".TP\n.B " roff(name) "\n" roff(text) "\n"
    next
}
block == 1 {
    sub(/^ */, "")
    commands = commands roff($0) "\n"
}
END {
    while ((getline line < page) > 0) {
        if (line == "%SYNOPSIS%")
            printf ".nf\n%s.fi\n", synopsis
        else if (line == "%COMMANDS%")
            printf "%s", commands
        else
            print line
    }
}
