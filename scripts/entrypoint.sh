#!/bin/sh
# A container's entrypoint: runs its arguments, or without any ComfyUI where it finds it, under `comfydd run`.
#
#   ENTRYPOINT ["/opt/comfydd/bin/comfydd-entrypoint"]
#   CMD ["/start.sh"]                                         what the image's own ENTRYPOINT and CMD were
#
# COMFYUI_PATH names ComfyUI's folder, when it is in none of the usual places, COMFYDD_PROGRAM the program, when it is not
# beside this script. Options of comfydd run are given as COMFYDD_* variables. For images whose start script overwrites
# LD_PRELOAD: COMFYDD_LD_SO_PRELOAD=/etc/ld.so.preload adds the library to that file, which every program of the container
# then reads. Only when it is asked for, and never on a host: nothing here can tell for certain that /etc is not everybody's.
# Whatever is missing, the command runs: tracing must never keep ComfyUI from starting.

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd -P)

say() {
    echo "comfydd: $*" >&2
}

# The first of these files that is there.
first() {
    for candidate in "$@"; do
        [ ! -f "$candidate" ] || {
            echo "$candidate"
            return
        }
    done
}

# A library that the loader cannot load would make every program of the container complain.
loads() {
    [ -z "$(LD_PRELOAD=$1 /bin/true 2>&1)" ]
}

preload_everywhere() {
    list=${COMFYDD_LD_SO_PRELOAD:-}
    [ -n "$list" ] || return
    case $1 in
    "" | *[\ :]*) ;;
    *)
        if loads "$1" && { grep -qxF "$1" "$list" 2>/dev/null || echo "$1" 2>/dev/null >>"$list"; }; then return; fi
        ;;
    esac
    say "the library cannot be added to $list"
}

# Sets the arguments to those of a ComfyUI in the usual places.
find_comfyui() {
    for folder in "${COMFYUI_PATH:-}" "$PWD" /comfyui /ComfyUI /opt/ComfyUI /app/ComfyUI /app /workspace/ComfyUI \
        "${HOME:+$HOME/ComfyUI}"; do
        if [ -n "$folder" ] && [ -f "$folder/main.py" ] && [ -f "$folder/execution.py" ]; then
            comfyui=$folder
            return
        fi
    done
    return 1
}

program=${COMFYDD_PROGRAM:-$(first "$here/comfydd" "$here/../build/comfydd")}
library=${COMFYDD_LIB:-$(first "$here/libcomfydd.so" "$here/../lib/libcomfydd.so" "$here/../build/libcomfydd.so")}

if [ $# -eq 0 ]; then
    find_comfyui || {
        say "no ComfyUI found and no command given; set COMFYUI_PATH, or give a command"
        exit 125
    }
    cd "$comfyui" || exit 125
    python=$(first venv/bin/python .venv/bin/python ../venv/bin/python /opt/venv/bin/python)
    [ -n "$python" ] || python=$(command -v python3 || command -v python)
    set -- "$python" main.py --listen 0.0.0.0
fi

[ -z "$library" ] || library=$(CDPATH='' cd -- "$(dirname -- "$library")" && pwd -P)/${library##*/}
preload_everywhere "$library"
if "$program" --version >/dev/null 2>&1; then exec "$program" run -- "$@"; fi
say "${program:-comfydd beside $0}: missing, or not for this machine; running without a supervisor"
[ -z "$library" ] || ! loads "$library" || export LD_PRELOAD="$library${LD_PRELOAD:+:$LD_PRELOAD}"
exec "$@"
