# Functions of the job that runs test programs.
failed=""

# NAME FOLDER PROGRAM ARGUMENTS…: in the crate's folder, as cargo does it.
run_test() {
    name=$1 folder=$2 program=$3
    shift 3
    echo "== $name ($folder)"
    (cd "$folder" && CARGO_MANIFEST_DIR=$folder exec "$program" "$@") || failed="$failed $name"
}

end_tests() {
    [ -z "$failed" ] || echo "failed in the virtual machine:$failed"
    [ -z "$failed" ]
}

