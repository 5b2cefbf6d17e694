# Shared by the scripts beside it. Everything that is built or run lives in $HALDANE_STACK_DIR; the repository holds only
# our own scripts, our own configuration and the version pins.
set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
STACK_DIR=${HALDANE_STACK_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/haldane-stack}
BIN=$STACK_DIR/bin
SHARE=$STACK_DIR/share
RUN=${HALDANE_STACK_RUN:-$STACK_DIR/run}
# Python packages of these pins, for this interpreter: another pin or another Python is another directory.
python_lib() { echo "$STACK_DIR/$1-$( (cat "$HERE/pins/$2"; python3 --version) | sha256sum | cut -c1-12)"; }
PYTHON_LIB=$(python_lib python requirements.txt)
MLFLOW_LIB=$(python_lib mlflow mlflow.txt)
PODS=10.240.0.0/16          # pod addresses: local to the network namespace, so that any process may listen on them
API=https://127.0.0.1:6443
export HALDANE_STACK_DIR=$STACK_DIR HALDANE_STACK_RUN=$RUN STACK_SHARE=$SHARE MODELS=$HERE/models MLFLOW_LIB
export KUBECONFIG=$RUN/kubeconfig PATH=$BIN:$PATH PYTHONPATH=$PYTHON_LIB
export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1   # a model answers one request at a time

log() { printf '%s %s\n' "$(date +%T.%3N)" "$*" >&2; }
die() { log "error: $*"; exit 1; }

# A process is known by its id and its start time, so that an id that is used again is never taken for ours.
started() { sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | cut -d' ' -f20; }
record() { echo "$2 $(started "$2")" >"$RUN/pids/$1"; }
pid_of() { cut -d' ' -f1 "$RUN/pids/$1"; }

# The command that runs its arguments inside the stack's network namespace, as an array. Who is not root made that
# namespace in a user namespace, and goes through that one, unless already inside (there, one is its root).
enter_by() {
  local ns; ns=/proc/$(pid_of netns)/ns
  ENTER=(nsenter --net="$ns/net")
  [ "$(readlink /proc/self/ns/user)" = "$(readlink "$ns/user")" ] || ENTER+=(--user="$ns/user" --preserve-credentials)
  ENTER+=(--)
}
inside() { local ENTER; enter_by; "${ENTER[@]}" "$@"; }

# start NAME COMMAND...: a background process in the namespace, its output in logs/NAME, its process id in pids/NAME; the
# command is kept in commands/NAME for `restart`.
start() {
  local name=$1; shift
  printf '%q ' "$@" >"$RUN/commands/$name"
  local ENTER; enter_by
  "${ENTER[@]}" setsid "$@" >>"$RUN/logs/$name" 2>&1 </dev/null &
  record "$name" $!
}

alive() { [ -n "$2" ] && [ "$(started "$1")" = "$2" ]; }

# stop NAME [SIGNAL]: ends one process, and waits until it is gone.
stop() {
  local pid start
  read -r pid start <"$RUN/pids/$1" || return 0
  alive "$pid" "$start" || return 0
  kill "-${2:-TERM}" "$pid" 2>/dev/null || return 0
  for _ in $(seq 60); do alive "$pid" "$start" || return 0; sleep 0.05; done
  kill -KILL "$pid" 2>/dev/null || true   # the API server would wait for its clients' watches: nothing here needs that
}

# wait_for SECONDS WHAT COMMAND...
wait_for() {
  local limit=$(( $(date +%s) + $1 )) what=$2; shift 2
  until "$@" >/dev/null 2>&1; do
    [ "$(date +%s)" -lt "$limit" ] || die "$what was not ready in time (see $RUN/logs)"
    sleep 0.1
  done
}

http_ok() { inside curl -fsSk --max-time 2 -o /dev/null "$@"; }
