# One cluster over several zones as processes on loopback; `deploy/run --zones` sources this.
#
# Zone N is node N with broker.rack az-N: clients on port N9092, the quorum on N9093, and its folder $zones/az-N, which
# holds server.properties, data, log and pid. Wants root, daemon, say and die of deploy/run.

zones=$root/trivet-zones
zone_replicas=3

zone_address() { echo "127.0.0.1:${1}9092"; }

zone_addresses() {
  local n list=
  for n in $(seq "$1"); do list+=${list:+,}$(zone_address "$n"); done
  echo "$list"
}

# The pid of the broker that runs for a zone's folder, if it lives.
zone_pid() {
  local pid
  pid=$(cat "$1/pid" 2>/dev/null) || return 1
  is_our_broker "$pid" && echo "$pid"
}

write_zone_settings() {
  local n=$1 count=$2 voter voters=
  for voter in $(seq "$count"); do voters+=${voters:+,}$voter@127.0.0.1:${voter}9093; done
  mkdir -p "$zones/az-$n"
  cat >"$zones/az-$n/server.properties" <<SETTINGS
process.roles=broker,controller
node.id=$n
broker.rack=az-$n
listeners=PLAINTEXT://127.0.0.1:${n}9092,CONTROLLER://127.0.0.1:${n}9093
controller.listener.names=CONTROLLER
controller.quorum.voters=$voters
log.dirs=$zones/az-$n/data
default.replication.factor=$zone_replicas
min.insync.replicas=$((zone_replicas / 2 + 1))
offsets.topic.replication.factor=$zone_replicas
SETTINGS
}

# A fresh cluster has one id in all of its zones.
zone_cluster_id() {
  [ -s "$zones/cluster-id" ] || head -c 16 /dev/urandom | base64 | tr '+/' '-_' | tr -d '=' >"$zones/cluster-id"
  cat "$zones/cluster-id"
}

start_zone() {
  local n=$1 folder=$zones/az-$1 id
  if zone_pid "$folder" >/dev/null; then
    return
  fi
  id=$(zone_cluster_id)
  if port_is_taken "${n}9092" || port_is_taken "${n}9093"; then
    die "port ${n}9092 or ${n}9093 of $host is in use by another program"
  fi
  (
    cd "$folder"
    CLUSTER_ID=$id exec setsid "$daemon" --config server.properties </dev/null >>broker.log 2>&1
  ) &
  echo $! >"$folder/pid"
}

# Ready: a broker answers, and knows of all the others.
wait_for_zone() {
  local n=$1 count=$2
  for _ in $(seq 150); do
    if ! zone_pid "$zones/az-$n" >/dev/null; then
      tail -n 20 "$zones/az-$n/broker.log" >&2
      die "the broker of az-$n did not start (its log is above)"
    fi
    if kcat -L -b "$(zone_address "$n")" -m 2 2>/dev/null | grep -q "^ $count brokers:"; then
      return
    fi
    sleep 0.1
  done
  tail -n 20 "$zones/az-$n/broker.log" >&2
  die "az-$n did not see all $count brokers in time (its log is above)"
}

start_zones() {
  local n count=$1
  if [ -s "$zones/count" ] && [ "$(cat "$zones/count")" != "$count" ]; then
    die "$zones has a cluster of $(cat "$zones/count") zones; voters are in its settings, so that number stays"
  fi
  mkdir -p "$zones"
  echo "$count" >"$zones/count"
  for n in $(seq "$count"); do
    write_zone_settings "$n" "$count"
    start_zone "$n"
  done
  for n in $(seq "$count"); do
    wait_for_zone "$n" "$count"
    say "az-$n: node $n at $(zone_address "$n") (pid $(cat "$zones/az-$n/pid"))"
  done
}

# SIGTERM to all at once, then waits. Nothing to do is fine.
stop_zones() {
  local folder pid pids=()
  for folder in "$zones"/az-*; do
    if pid=$(zone_pid "$folder"); then
      kill -TERM "$pid"
      pids+=("$pid")
    fi
  done
  for pid in "${pids[@]}"; do
    wait_for_end "$pid" || die "pid $pid has not stopped after 30 s; see the logs in $zones"
  done
  rm -f "$zones"/az-*/pid
  [ ${#pids[@]} -eq 0 ] || say "stopped ${#pids[@]} zones (pids ${pids[*]}); their data stays in $zones"
}
