#!/usr/bin/env bash
# From a clone to the first page: clones this checkout into a temporary folder, starts the shop there with an empty cargo
# home, and prints the time until `GET /` answers, and the crates that took longest. Needs rustup, a C compiler and curl.
#
#   tests/peers/first_page.sh [PROFILE] [FOLDER]      PROFILE is release (the default) or dist; FOLDER keeps the clone
set -euo pipefail
profile=${1:-release}
repository=$(git -C "$(dirname "$0")" rev-parse --show-toplevel)
folder=${2:-$(mktemp -d)}
kept=${2:-}
shop=
finish() {
    if [ -n "$shop" ]; then kill "$shop" 2>/dev/null || true; fi
    if [ -z "$kept" ]; then rm -rf "$folder"; fi
}
trap finish EXIT

mkdir -p "$folder"
git clone --quiet "$repository" "$folder/shop"
cd "$folder/shop"
export CARGO_HOME="$folder/cargo" CARGO_TERM_COLOR=never
mkdir -p "$CARGO_HOME"
# Where crates come from, if this machine does not use the default registry.
for config in "${HOME}/.cargo/config.toml"; do
    if [ -f "$config" ]; then cp "$config" "$CARGO_HOME/"; fi
done
begin=$(date +%s)
# The program is built first, because `cargo run` has no --timings.
cargo build --profile "$profile" --timings 2> "$folder/build.log" || { tail -20 "$folder/build.log"; exit 1; }
built=$(date +%s)
cargo run --quiet --profile "$profile" -- up --listen 127.0.0.1:0 --observe-listen 127.0.0.1:0 \
    > "$folder/out.log" 2> "$folder/up.log" &
shop=$!
until address=$(sed -n 's/^Serving //p' "$folder/out.log") && [ -n "$address" ] && curl -sf "$address/" > /dev/null; do
    kill -0 "$shop" 2>/dev/null || { tail -20 "$folder/up.log"; exit 1; }
    sleep 1
done
shown=$(date +%s)
echo "$(git rev-parse --short HEAD), profile $profile, $(nproc) cores, $(rustc --version)"
echo "program built after $((built - begin)) s, first page after $((shown - begin)) s"
echo "crates that took longest, in seconds:"
grep -o 'UNIT_DATA = \[.*\]' -z target/cargo-timings/cargo-timing.html | tr '\0' '\n' \
    | grep -oE '"name": "[^"]+"|"duration": [0-9.]+' | paste - - \
    | sed -E 's/"name": "([^"]+)"\t"duration": ([0-9.]+)/\2 \1/' | sort -rn | head -12
