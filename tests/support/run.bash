# Functions that the suites' `run` programs share. Source this file.

# Ends with an explanation unless PIPECAST_BIN names the binary under test; makes its path absolute.
require_binary() {
  if [[ ! -x ${PIPECAST_BIN:-} ]]; then
    echo "PIPECAST_BIN must give the path of the pipecast binary; it is '${PIPECAST_BIN:-}'." >&2
    exit 2
  fi
  PIPECAST_BIN=$(realpath "$PIPECAST_BIN")
  export PIPECAST_BIN
}

# Whatever the tests and their browsers leave behind is deleted with this folder.
use_temporary_folder() {
  TMPDIR=$(mktemp -d "${TMPDIR:-/tmp}/pipecast.XXXXXX")
  export TMPDIR
  trap 'rm -rf "$TMPDIR"' EXIT
}

# installed SUITE INSTALL FILE...: prints the folder with the packages that these files pin. If it is missing, the function INSTALL fills a
# new one, in which it finds copies of the files. It must stop at its first failure.
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
      echo "The packages that $PWD needs could not be installed." >&2
      rm -rf "$partial"
      return 1
    fi
    # Another run may have been faster.
    mv -T "$partial" "$folder" 2>/dev/null || rm -rf "$partial"
  fi
  echo "$folder"
}

install_node_modules() {
  npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
}

install_venv() {
  python3 -m venv venv &&
    venv/bin/python -m pip install --quiet --no-deps --disable-pip-version-check --require-hashes --requirement requirements.txt
}

# use_node_modules FOLDER: lets the tests in the current folder import the packages installed there.
use_node_modules() {
  if [[ -e node_modules && ! -L node_modules ]]; then
    echo "$PWD/node_modules is in the way: remove it." >&2
    exit 2
  fi
  ln -sfn "$1/node_modules" node_modules
}

# run_node_tests FILE...: runs all files at once, since they wait more than they compute. Fails if no test runs, or if any is skipped.
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
