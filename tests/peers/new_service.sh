#!/usr/bin/env bash
# Makes a new service in a copy of the repository, and runs on it every suite that knows components: its rules and SQL, its
# contract, the checks of the repository, and the lints. Needs what `.ci/run` needs, and about ten minutes.
set -euo pipefail
cd "$(dirname "$0")/../.."
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$PWD/target}" CARGO_INCREMENTAL=0 CI=true
copy="$(mktemp -d)"
trap 'rm -rf "$copy"' EXIT
git archive HEAD | tar -x -C "$copy"
cd "$copy"
git init -q && git add -A

cargo run --quiet -- new service review
echo "files: $(git ls-files --others --exclude-standard | wc -l)"
# What says nothing of the noun: the kit's names, derives, signatures of every service.
echo "lines of wiring: $(cat components/review/{component.toml,Cargo.toml,src/lib.rs} |
    grep -cv '^ *\(#\|//\|$\)') in component.toml, Cargo.toml and lib.rs"
cargo fmt --all --check
cargo run --quiet -- manifest --check
cargo test --quiet --workspace --lib -- tests::a_review
cargo test --quiet --workspace --test repository
cargo run --quiet -- build
cargo run --quiet -- test | grep review
cargo clippy --quiet --workspace --all-targets -- -D warnings
cargo clippy --quiet --target wasm32-wasip2 --profile component --package review -- -D warnings
echo "a new service passes"
