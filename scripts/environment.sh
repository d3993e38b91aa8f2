# Sourced by the other scripts: makes one virtual environment, once for each state of what it is made from.
#   make_environment FOLDER CONSTRAINTS REQUIREMENT...      FOLDER/bin/python is ready afterwards
# PYTHON names the interpreter (default python3). hnswlib has no wheels, so its wheel is built first (scripts/wheels).

make_environment() {
    local folder="$1" constraints="$PWD/$2" stamp; shift 2
    stamp="$(cat setup.cfg "$constraints" scripts/wheels scripts/environment.sh | sha256sum | cut -d' ' -f1) $*"
    if [ -x "$folder/bin/python" ] && [ "$(cat "$folder/stamp" 2>/dev/null)" = "$stamp" ]; then
        return
    fi
    echo "making $folder (once): $*" >&2
    rm -rf "$folder"
    "${PYTHON:-python3}" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
        { echo "these scripts need Python 3.11 or newer: set PYTHON to one" >&2; exit 1; }
    "${PYTHON:-python3}" -m venv "$folder"
    "$folder/bin/python" -m pip install --quiet --dry-run --no-index --no-deps --find-links .wheels hnswlib 2>/dev/null ||
        PYTHON="$folder/bin/python" PIP_CONSTRAINT="$constraints" scripts/wheels > /dev/null
    PIP_CONSTRAINT="$constraints" "$folder/bin/python" -m pip install --quiet --disable-pip-version-check \
        --find-links .wheels "$@"
    echo "$stamp" > "$folder/stamp"
}
