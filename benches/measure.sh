#!/usr/bin/env bash
# Every number docs/performance.md owes, in one run of about ten minutes on a quiet machine; prints a table in Markdown.
#   benches/measure.sh target/release/stockroom [DIRECTORY]
# Needs what compare.sh needs, and GNU time. Builds the bench `commit` first: give it the CARGO_PROFILE_RELEASE_* the binary
# was built with. RECORDS (1,000,000) and SKUS (200,000) may be set smaller to try the script itself. Works in a new directory under DIRECTORY (default: the system's for
# temporary files), which decides the disk; about 4 GB are used and removed again. Processes are stopped by id.
set -euo pipefail
HERE=$(cd "$(dirname "$0")" && pwd); STOCKROOM=$(realpath "$1"); BASE=${2:-${TMPDIR:-/tmp}}
RECORDS=${RECORDS:-1000000}; SKUS=${SKUS:-200000}
WORK=$(mktemp -d "$BASE/measure.XXXXXX"); chmod 755 "$WORK"; NODE=
stop() { [ -z "$NODE" ] || { kill "-${1:-TERM}" "$NODE" 2>/dev/null || true; wait "$NODE" 2>/dev/null || true; NODE=; }; }
trap 'stop KILL; rm -rf "$WORK"' EXIT
say() { printf '%(%T)T %s\n' -1 "$*" >&2; }
pick() { python3 -c "import json, sys; report = json.load(sys.stdin); print($1)"; }
now() { date +%s.%N; }
since() { python3 -c "print(f'{$(now) - $1:.2f}')"; }
rss_mib() { awk '/^VmRSS/ { printf "%.0f", $2 / 1024 }' "/proc/$NODE/status"; }
cpu() { awk '{ print ($14 + $15) / 100 }' "/proc/$NODE/stat"; }
metric() { python3 -c "import sys, urllib.request
for line in urllib.request.urlopen('$OPS/metrics').read().decode().splitlines():
    if line.startswith('$1'): print(int(float(line.split()[-1])))"; }

start() { # directory; sets NODE, URL, OPS, KEY and READY, the seconds from exec to ready
    local begun; begun=$(now); : >"$1.ready"
    STOCKROOM_ENTITIES__IDLE_SECONDS=86400 "$STOCKROOM" --data "$1" serve --listen 127.0.0.1:0 --ops-listen 127.0.0.1:0 \
        >"$1.ready" 2>>"$1.log" &
    NODE=$!
    until grep -q ready "$1.ready"; do kill -0 "$NODE"; sleep 0.02; done
    READY=$(since "$begun")
    URL=http://$(pick 'report["http"]' <"$1.ready"); OPS=http://$(pick 'report["ops"]' <"$1.ready")
    [ -f "$1.key" ] || "$STOCKROOM" --data "$1" key create --role merchant | awk '{ print $NF }' >"$1.key"
    KEY=$(cat "$1.key")
}
bench() { "$STOCKROOM" bench "$@" --url "$URL" --json 2>>"$WORK/bench.log"; }
median() { sort -g | awk '{ a[NR] = $1 } END { print NR ? a[int((NR + 1) / 2)] : "-" }'; }
column() { awk -v who="$1" -v what="$2" -v field="$3" '$1 == who && $2 == what { sub("/s", "", $field); print $field }' "$WORK/compare" | median; }
times() { python3 -c "print(f'{$1 / $2:.2f}')" 2>/dev/null || echo -; }
rows=()
row() { rows+=("| $1 | $2 | $3 |"); say "$1: $3"; }

(cd "$HERE/.." && cargo bench --locked --quiet --no-run --bench commit --bench floor)
say 'beside PostgreSQL and Redis'
TMPDIR=$WORK "$HERE/compare.sh" "$STOCKROOM" 2 4 64 >"$WORK/compare"; cat "$WORK/compare" >&2
hot=$(column stockroom hot-sku 3); many=$(column stockroom uniform 3)
row 'one SKU, 64 clients, against PostgreSQL' '20 ×' "$hot/s, $(times "$hot" "$(column postgresql hot 3)") ×"
row 'one SKU, 64 clients, against Redis `appendfsync always`' '1 ×' "$hot/s, $(times "$hot" "$(column redis hot 3)") ×"
row '10,000 SKUs, 64 clients, against PostgreSQL' '3 ×' "$many/s, $(times "$many" "$(column postgresql uniform 3)") ×"
row 'one SKU against many' '0.8 ×' "$(times "$hot" "$many") ×"

say 'a checkout, and a hold against one group commit'
start "$WORK/shop"
bench checkout --key "$KEY" --skus 1000 --clients 32 --duration 2 --warmup 0 >/dev/null
before=$(cpu); report=$(bench checkout --key "$KEY" --skus 1000 --clients 32 --duration 15 --warmup 0); sleep 2; after=$(cpu)
row 'CPU of the node per checkout of five calls' '1 ms' \
    "$(pick "f'{($after - $before) * 1e3 / report[\"latency_us\"][\"count\"]:.2f} ms'" <<<"$report")"
commits=$(cd "$HERE/.." && cargo bench --locked --quiet --bench commit -- "$WORK" 2>>"$WORK/bench.log")
for how in open closed; do
    commit=$(grep "\"$how\"" <<<"$commits" | pick 'report["p99"]')
    load=(); named='closed loop of 64'; [ $how = closed ] || { load=(--rate 2000); named='2,000 a second'; }
    # Five runs, because a pause of the machine spoils one.
    hold=$(for _ in 1 2 3 4 5; do
        bench hot-sku --key "$KEY" --clients 64 --duration 5 "${load[@]}" | pick 'report["latency_us"]["p99"]'
    done | median)
    row "p99 of a hold, $named, against p99 of one group commit likewise" '3 ×' "$hold µs / $commit µs = $(times "$hold" "$commit") ×"
done
stop

say 'a million records'
start "$WORK/records"
while [ "$(metric 'stockroom_records_total{kind="stock"}')" -lt "$RECORDS" ] 2>/dev/null || [ -z "${filled:-}" ]; do
    filled=1
    bench hot-sku --key "$KEY" --clients 256 --duration 10 --warmup 0 --hold-seconds 3600 >/dev/null
    bench uniform --key "$KEY" --clients 64 --duration 1 --warmup 0 --hold-seconds 3600 >/dev/null
done
records=$(metric 'stockroom_records_total{kind="stock"}')
stop KILL; start "$WORK/records"; row "start to ready after kill -9, $records records" '5 s' "$READY s"
stop; start "$WORK/records"; row "start to ready after an orderly stop, $records records" '5 s' "$READY s"
stop
/usr/bin/time -f '%e s, %M KiB' -o "$WORK/verify.time" "$STOCKROOM" --data "$WORK/records" journal verify >"$WORK/verify" \
    2>>"$WORK/bench.log" || true
row "\`journal verify\`, $records records" '60 s, 1 GiB' "$(cat "$WORK/verify.time"); $(grep -o '[0-9]* findings' "$WORK/verify")"
rm -rf "$WORK/records"

say 'two hundred thousand residents, then cold'
start "$WORK/many"; empty=$(rss_mib)
bench uniform --key "$KEY" --skus "$SKUS" --clients 64 --duration 1 --warmup 0 >/dev/null
sleep 3; residents=$(metric stockroom_resident_actors)
row "$residents entities resident" '2.5 GiB for 200,000' "$(rss_mib) MiB, empty $empty MiB"
stop; start "$WORK/many"
row 'first answer of an entity at rest, 2 clients, p50' '2 ms' \
    "$(bench cold --skus "$SKUS" --clients 2 --duration 8 --warmup 0 | pick 'report["latency_us"]["p50"] / 1000') ms"
stop

say 'what the libraries take without us'
(cd "$HERE/.." && cargo bench --locked --quiet --bench floor -- "$WORK") 2>>"$WORK/bench.log" >&2

printf '| | owed | measured |\n|---|---|---|\n'; printf '%s\n' "${rows[@]}"
