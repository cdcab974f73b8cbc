# What the knobs share; read by them, not run. A knob defines `settings`, which calls `setting` for each file
# it cares about, and ends with `main "$@"`.
#
# Exit status: 0 as wanted (or done), 1 differs (or failed), 2 not applicable on this host, 64 wrong usage.
# The old values are kept under /run, like the settings themselves only until the next boot. TUNING_ROOT puts
# another directory before /proc and /sys, TUNING_STATE another place for old values: for tests. With
# TUNING_OPTIONAL, which `all` sets, an optional knob that differs is only shown.

root=${TUNING_ROOT:-}
state=${TUNING_STATE:-/run/torc-tuning}
knob=$(basename "$0")
seen=0
worst=0

say() { printf '%-22s %s\n' "$knob" "$*"; }

# The value of a file; of a list of choices, the one in brackets.
value_of() {
    read_value=$(cat "$1" 2>/dev/null) || return 1
    case $read_value in
    *\[*\]*) read_value=${read_value#*\[} && read_value=${read_value%%\]*} ;;
    esac
    printf '%s\n' "$read_value"
}

# is_wanted VALUE RULE WANTED: whether the rule holds.
is_wanted() {
    case $2 in
    exactly) [ "$1" = "$3" ] ;;
    at-least) [ "$1" -ge "$3" ] 2>/dev/null ;;
    one-of) case " $3 " in *" $1 "*) true ;; *) false ;; esac ;;
    esac
}

# setting FILE RULE WANTED: one file, by the rule exactly, at-least or one-of (whose first word is what apply
# writes).
setting() {
    file=$root$1
    [ -r "$file" ] || return 0
    now=$(value_of "$file") || return 0
    seen=$((seen + 1))
    saved=$state/$knob$(printf %s "$1" | tr / +)
    case $action in
    check) check_setting "$@" ;;
    apply) apply_setting "$@" ;;
    revert) revert_setting "$@" ;;
    esac
}

check_setting() {
    if is_wanted "$now" "$2" "$3"; then
        say "ok       $1 is $now"
    elif [ -n "${TUNING_OPTIONAL:-}" ] && grep -q '^# Optional:' "$0"; then
        say "optional $1 is $now, would be $2 $3"
    else
        say "differs  $1 is $now, wanted $2 $3"
        worst=1
    fi
}

apply_setting() {
    if is_wanted "$now" "$2" "$3"; then
        say "ok       $1 is $now"
        return
    fi
    # The value from before the first apply is the one to go back to.
    if ! { mkdir -p "$state" && { [ -e "$saved" ] || printf '%s\n' "$now" >"$saved"; }; }; then
        say "failed   $state cannot keep the old value of $1 (are you root?)"
        worst=1
        return
    fi
    write_value "${3%% *}" "$1"
}

revert_setting() {
    [ -e "$saved" ] || return 0
    write_value "$(cat "$saved")" "$1" && rm -f "$saved"
}

write_value() {
    if { printf '%s\n' "$1" >"$file"; } 2>/dev/null; then
        say "done     $2 was $now, is $1"
    else
        say "failed   $2 cannot be set to $1 (are you root?)"
        worst=1
        return 1
    fi
}

main() {
    action=${1:-}
    case $action in
    check | apply | revert) ;;
    *)
        sed -n '2,/^$/s/^# \{0,1\}//p' "$0"
        echo "usage: $0 check|apply|revert" >&2
        exit 64
        ;;
    esac
    settings
    if [ "$seen" = 0 ]; then
        say "absent   this host has no such setting"
        exit 2
    fi
    exit "$worst"
}
