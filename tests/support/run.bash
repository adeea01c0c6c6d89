# What the suites' entries share; to be sourced by them.

# Ends with an explanation unless PIPECAST_BIN names the binary under test; makes its path absolute.
require_binary() {
  if [[ ! -x ${PIPECAST_BIN:-} ]]; then
    echo "PIPECAST_BIN must give the path of the pipecast binary; it is '${PIPECAST_BIN:-}'." >&2
    exit 2
  fi
  PIPECAST_BIN=$(realpath "$PIPECAST_BIN")
  export PIPECAST_BIN
}

# What the tests and their browsers leave behind goes with this folder.
use_temporary_folder() {
  TMPDIR=$(mktemp -d "${TMPDIR:-/tmp}/pipecast.XXXXXX")
  export TMPDIR
  trap 'rm -rf "$TMPDIR"' EXIT
}

# installed SUITE INSTALL FILE...: the folder that holds what these files pin. When it is missing, INSTALL, a function that
# has to fail at its first failure, fills a new one, where it finds copies of the files.
installed() {
  local suite=$1 install=$2 hash folder partial
  shift 2
  hash=$(cat "$@" | sha256sum | cut -c1-16)
  folder=${XDG_CACHE_HOME:-$HOME/.cache}/pipecast/$suite-$hash
  if [[ ! -d $folder ]]; then
    partial=$folder.$$
    mkdir -p "$partial"
    cp "$@" "$partial"
    if ! (cd "$partial" && "$install") >&2; then
      echo "What $PWD needs could not be installed." >&2
      rm -rf "$partial"
      return 1
    fi
    # Somebody else may have been faster.
    mv -T "$partial" "$folder" 2>/dev/null || rm -rf "$partial"
  fi
  echo "$folder"
}

install_node_modules() {
  npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
}

# use_node_modules FOLDER: the tests in the current folder find their packages there.
use_node_modules() {
  if [[ -e node_modules && ! -L node_modules ]]; then
    echo "$PWD/node_modules is in the way: remove it." >&2
    exit 2
  fi
  ln -sfn "$1/node_modules" node_modules
}

# run_node_tests FILE...: all files at once, since they wait more than they work. No test, or one left out, is a failure.
run_node_tests() {
  local summary status=0
  summary=$(mktemp)
  node --test --test-concurrency=$# \
    --test-reporter=spec --test-reporter-destination=stdout \
    --test-reporter=tap --test-reporter-destination="$summary" "$@" || status=$?
  if grep -qx '# tests 0' "$summary" || ! grep -qx '# skipped 0' "$summary" || ! grep -qx '# todo 0' "$summary"; then
    echo "Some tests did not run." >&2
    status=1
  fi
  rm -f "$summary"
  return "$status"
}
