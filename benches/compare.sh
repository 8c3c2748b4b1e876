#!/usr/bin/env bash
# One hold on one SKU, and on many, three ways on the same machine in one run: PostgreSQL, Redis, Stockroom.
#   benches/compare.sh target/release/stockroom [ROUNDS=3] [SECONDS=5] [CLIENTS=64]
# Needs Debian's postgresql (pgbench included) and redis-server; either is left out when missing. Everything runs on
# free loopback ports in a temporary directory, with fsync on, and is stopped by process id. Prints one line per run.
set -euo pipefail
STOCKROOM=$(realpath "$1"); ROUNDS=${2:-3}; SECS=${3:-5}; CLIENTS=${4:-64}
WORK=$(mktemp -d -t compare.XXXXXX); chmod 755 "$WORK"
PIDS=()
finish() { for pid in "${PIDS[@]}"; do kill "$pid" 2>/dev/null || true; done; wait 2>/dev/null || true; rm -rf "$WORK"; }
trap finish EXIT
free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
cpu() { awk '{ print ($14 + $15) / 100 }' "/proc/$1/stat"; }
field() { python3 -c "import json, sys; print(json.load(sys.stdin)$1)"; }

POSTGRES=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -1 || true)
if [ -n "$POSTGRES" ]; then
    PGPORT=$(free_port); mkdir "$WORK/pg"; AS=()
    if [ "$(id -u)" = 0 ]; then chown postgres "$WORK/pg"; AS=(setpriv --reuid postgres --regid postgres --clear-groups); fi
    "${AS[@]}" "$POSTGRES/initdb" -D "$WORK/pg/data" -A trust -U postgres >/dev/null 2>&1
    "${AS[@]}" "$POSTGRES/postgres" -D "$WORK/pg/data" -p "$PGPORT" -c listen_addresses=127.0.0.1 -c fsync=on \
        -c unix_socket_directories= -c synchronous_commit=on -c shared_buffers=512MB -c max_connections=300 >"$WORK/pg.log" 2>&1 &
    PIDS+=($!)
    PSQL=(psql -q -h 127.0.0.1 -p "$PGPORT" -U postgres -v ON_ERROR_STOP=1)
    until "${PSQL[@]}" -c 'select 1' >/dev/null 2>&1; do sleep 0.1; done
    "${PSQL[@]}" >/dev/null <<'SQL'
create table item (id int primary key, available bigint not null check (available >= 0)) with (fillfactor = 50);
create table hold (id bigserial primary key, item int not null, quantity int not null, made_at timestamptz default now());
insert into item select number, 1000000000 from generate_series(1, 10000) number;
vacuum analyze item;
SQL
    for shape in hot uniform; do
        last=1; [ $shape = uniform ] && last=10000
        printf '%s\n' "\\set id random(1, $last)" 'begin;' \
            'update item set available = available - 1 where id = :id and available >= 1;' \
            'insert into hold (item, quantity) values (:id, 1);' 'commit;' >"$WORK/$shape.sql"
    done
fi

if command -v redis-server >/dev/null; then
    RPORT=$(free_port); mkdir "$WORK/redis"
    redis-server --port "$RPORT" --bind 127.0.0.1 --dir "$WORK/redis" --save '' --appendonly yes --appendfsync always >"$WORK/redis.log" &
    PIDS+=($!)
    until redis-cli -p "$RPORT" ping >/dev/null 2>&1; do sleep 0.1; done
    SCRIPT=$(redis-cli -p "$RPORT" script load "local left = tonumber(redis.call('get', KEYS[1]) or '1000000000')
        if left < 1 then return 0 end
        redis.call('set', KEYS[1], left - 1)
        redis.call('hset', 'holds', redis.call('incr', 'next'), ARGV[1])
        return 1")
fi

mkdir "$WORK/shop"
STOCKROOM_TELEMETRY_LOG_FILTER=warn "$STOCKROOM" --data "$WORK/shop" serve --listen 127.0.0.1:0 --ops-listen 127.0.0.1:0 \
    >"$WORK/ready" 2>"$WORK/shop.log" &
SHOP=$!; PIDS+=($SHOP)
until grep -q ready "$WORK/ready"; do sleep 0.1; done
URL=http://$(field '["http"]' <"$WORK/ready")
KEY=$("$STOCKROOM" --data "$WORK/shop" key create --role merchant | awk '{ print $NF }')
"$STOCKROOM" bench uniform --url "$URL" --key "$KEY" --clients "$CLIENTS" --duration 1 --warmup 0 >/dev/null 2>&1 # fills the shelves

shop() { # scenario, further arguments
    local before after report scenario=$1; shift
    before=$(cpu $SHOP)
    report=$("$STOCKROOM" bench "$scenario" --url "$URL" --clients "$CLIENTS" --duration "$SECS" \
        --warmup 1 --json "$@" 2>>"$WORK/bench.log") || { tail -2 "$WORK/bench.log"; return; }
    after=$(cpu $SHOP)
    python3 - "$report" "$before" "$after" "$SECS" "$*" <<'PYTHON'
import json, sys
report, before, after, seconds, extra = json.loads(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3]), float(sys.argv[4]), sys.argv[5]
rate, latency = report["operations_per_second"], report["latency_us"]
share = (after - before) / (rate * (seconds + 1)) * 1e6
print(f"stockroom   {report['scenario']:9} {rate:9.0f}/s  p50 {latency['p50'] / 1000:7.2f} ms  p99 {latency['p99'] / 1000:7.2f} ms"
      f"  {share:6.0f} us of CPU each  failed {sum(report['failed'].values())}  {extra}", flush=True)
PYTHON
}

for _ in $(seq "$ROUNDS"); do
    for shape in hot uniform; do
        if [ -n "$POSTGRES" ]; then
            rate=$(pgbench -n -M prepared -h 127.0.0.1 -p "$PGPORT" -U postgres -f "$WORK/$shape.sql" -c "$CLIENTS" -j 2 \
                -T "$SECS" postgres 2>/dev/null | awk '/^tps/ { print $3 } /^latency average/ { print $4 }' | paste -sd' ')
            awk -v s=$shape '{ printf "postgresql  %-9s %9.0f/s  average %.2f ms\n", s, $2, $1 }' <<<"$rate"
        fi
        if [ -n "${SCRIPT:-}" ]; then
            key=item:1; spread=(); [ $shape = uniform ] && { key=item:__rand_int__; spread=(-r 10000); }
            redis-benchmark -p "$RPORT" -c "$CLIENTS" -n 100000 -q --csv "${spread[@]}" evalsha "$SCRIPT" 1 "$key" payload-of-a-hold \
                2>/dev/null | tail -1 | tr -d '"' | awk -F, -v s=$shape '{ printf "redis       %-9s %9.0f/s  p50 %7.2f ms  p99 %7.2f ms\n", s, $(NF-6), $(NF-3), $(NF-1) }'
        fi
    done
    shop hot-sku
    shop uniform
    shop checkout --skus 1000
done
