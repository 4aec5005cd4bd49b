# tranche.yaml(5) out of the table of settings in README.md: awk -v date=YYYY-MM-DD -v version=N -f settings.awk README.md
function roff(text) {
    gsub(/\\/, "\\e", text)
    gsub(/-/, "\\-", text)
    while (match(text, /\[[^][]*\]\([^)]*\)/)) { # a link is its words
        link = substr(text, RSTART + 1, RLENGTH - 1)
        sub(/\]\(.*/, "", link)
        text = substr(text, 1, RSTART - 1) link substr(text, RSTART + RLENGTH)
    }
    while (match(text, /`[^`]*`/))
        text = substr(text, 1, RSTART - 1) "\\fB" substr(text, RSTART + 1, RLENGTH - 2) "\\fR" substr(text, RSTART + RLENGTH)
    gsub(/\*\*/, "", text)
    return text
}
BEGIN {
    print ".\\\" Made of the table of settings in README.md by settings.awk."
    print ".TH TRANCHE.YAML 5 " date " \"tranche " version "\" \"tranche\""
    print ".SH NAME\ntranche.yaml \\- the configuration of tranche"
    print ".SH DESCRIPTION"
    print ".BR tranche (1)\nreads the\n.I config.yaml\nof the LiteLLM proxy as it is, and a section\n.B tranche_settings\nof its own."
    print "Unknown keys are warned of with their line, wrong types are errors."
    print "\\fBos.environ/\\fINAME\\fR as a value is the value of the environment variable\n.IR NAME ."
    print "The command line wins over the file, the file over the environment."
    print ".B tranche check\nsays what a file means, and\n.B SIGHUP\nhas a running gateway take it over; a file with an error changes nothing."
    print ".SH SETTINGS"
}
$0 == "| setting | meaning | default |" { inside = 1; next }
inside && $0 == "" { exit }
inside && /^\| ---/ { next }
inside {
    row = substr($0, 3, length($0) - 4)
    n = split(row, cells, / \| */)
    meaning = cells[2]
    for (i = 3; i < n; i++)
        meaning = meaning " | " cells[i]
    print ".TP\n" roff(cells[1])
    print roff(meaning) "."
    if (cells[n] != "" && n > 2)
        print "Default: " roff(cells[n]) "."
}
END {
    print ".SH FILES"
    print ".TP\n.I /etc/tranche/config.yaml\nthe configuration of the service"
    print ".TP\n.I /etc/tranche/environment\nkeys, and where it listens"
    print ".TP\n.I /usr/share/doc/tranche/examples\nsamples: the smallest file, three Azure resources, Azure without keys, and each setting with a comment"
    print ".SH SEE ALSO"
    print ".BR tranche (1)"
}
