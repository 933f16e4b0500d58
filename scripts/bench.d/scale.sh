# Many tunnels on one host: mon of the laboratory, under one real xinetd. Tunnel i has an xinetd entry, a port, a
# configuration, and the addresses 10.(100 + i / 250).(i mod 250).1 and .2. Tunnel 0 naps and wakes beside the others.

readonly FIRST_PORT=20000 MOST_AWAKE=100 MOST_BUSY=10

scale() {
	sizes=${*:-1 10 100 500}
	for n in $sizes; do
		case $n in *[!0-9]* | 0 | '') die "$n: not a number of tunnels" ;; esac
	done
	"$here/needs" >&2
	build
	open_dir
	# A descriptor for each port, and one for each datagram that xinetd throws away.
	prlimit --nofile=16384:16384 --pid $$ 2>/dev/null || true
	scaled all machine "$(machine_model), $(nproc) processors, kernel $(uname -r), naptun $("$NAPTUN" --version | sed 's/.* //')"
	scaled all date "$(date -u +%Y-%m-%d)"
	for n in $sizes; do one_size; done
	figures report "$DIR/figures.tsv"
	[ $# -gt 0 ] || publish "$DIR/figures.tsv" scale
}

one_size() {
	echo "bench: $n tunnels" >&2
	awake=$n
	[ "$n" -le $MOST_AWAKE ] || awake=$MOST_AWAKE
	LAB_OWNER=$$ "$here/lab" up "$DIR"
	listeners
	"$here/lab" xinetd "$DIR" mon
	scaled "$n" napping "$(pids mon | wc -w)"
	callers
	xinetd_memory
	wake_all
	throughput
	listener_memory
	wakes
	"$here/lab" down "$DIR"
}

scaled() { printf 'scale\t%s\t%s\t%s\n' "$1" "$2" "$3" >>"$DIR/figures.tsv"; }

octets() { echo "$((100 + $1 / 250)).$(($1 % 250))"; }

# Shell text for a host: `configuration I OURS THEIRS SECONDS` writes that of tunnel I, which naps after so long.
# shellcheck disable=SC2016 # for the inner shell
readonly CONFIGURATION='configuration() {
	net=10.$((100 + $1 / 250)).$(($1 % 250))
	printf "secret static.key\ndev tun\nifconfig %s %s\ninactive %s\nverb 1\n" "$net.$2" "$net.$3" "$4" >/etc/naptun/t$1.conf
}'

listeners() {
	# shellcheck disable=SC2016 # for the inner shell
	at mon sh -c "$CONFIGURATION"'
		rm /etc/xinetd.d/*
		i=0
		while [ $i -le "$0" ]; do
			configuration $i 1 2 $((i == 0))
			cat >/etc/xinetd.d/t$i <<-END
				service t$i
				{
					type        = UNLISTED
					port        = $(($1 + i))
					socket_type = dgram
					protocol    = udp
					wait        = yes
					cps         = 0 0
					user        = root
					server      = /usr/sbin/naptun
					server_args = --inetd --cd /etc/naptun --config t$i.conf
				}
			END
			i=$((i + 1))
		done' "$n" $FIRST_PORT
}

callers() {
	# shellcheck disable=SC2016 # for the inner shell
	at fri sh -c "$CONFIGURATION"'
		i=0
		while [ $i -le "$0" ]; do
			configuration $i 2 1 0
			echo "remote mon" >>/etc/naptun/t$i.conf
			i=$((i + 1))
		done' "$awake"
	i=1
	while [ "$i" -le "$awake" ]; do
		start_caller "$i"
		i=$((i + 1))
	done
}

start_caller() {
	at fri naptun --port $((FIRST_PORT + $1)) --daemon --cd /etc/naptun --config "t$1.conf"
}

xinetd_memory() {
	pid=$(at mon pidof xinetd)
	scaled "$n" xinetd "$(at mon sed -n 's/^VmRSS:[ \t]*\([0-9]*\).*/\1/p' "/proc/$pid/status" | megabytes)"
}

megabytes() { awk '{ printf "%.1f", $1 / 1024 }'; }

# A ping over each: it wakes the listener, and its answer comes through the tunnel.
wake_all() {
	# shellcheck disable=SC2016 # for the inner shell
	scaled "$n" carry "$(at fri sh -c '
		i=1 carry=0
		while [ $i -le "$0" ]; do
			! ping -q -c 1 -W 5 10.$((100 + i / 250)).$((i % 250)).1 >/dev/null || carry=$((carry + 1))
			i=$((i + 1))
		done
		echo $carry' "$awake")"
	scaled "$n" awake "$(pids mon | wc -w)"
}

listener_memory() {
	# shellcheck disable=SC2016 # for the inner shell
	at mon sh -c 'for pid in $(pidof naptun); do cat /proc/$pid/status /proc/$pid/smaps_rollup; done' >"$DIR/memory"
	sed -n 's/^VmHWM:[ \t]*\([0-9]*\).*/\1/p' "$DIR/memory" >"$DIR/peaks"
	scaled "$n" hwm50 "$(percentiles "$DIR/peaks" | megabytes)"
	scaled "$n" hwmmax "$(percentiles "$DIR/peaks" | cut -d ' ' -f 3 | megabytes)"
	scaled "$n" pss "$(awk '/^Pss:/ { sum += $2 } END { print sum }' "$DIR/memory" | megabytes)"
}

throughput() {
	busy=$awake
	[ "$busy" -le $MOST_BUSY ] || busy=$MOST_BUSY
	scaled "$n" sum "$(streams "$busy")"
	listener=$(at mon pgrep -f 't1[.]conf')
	before=$(ticks "$listener")
	one=$(streams 1)
	after=$(ticks "$listener")
	scaled "$n" one "$one"
	scaled "$n" cpu "$(awk -v t=$((after - before)) -v hz="$(getconf CLK_TCK)" -v g="$one" -v s="$SECONDS_EACH" \
		'BEGIN { if (g > 0) printf "%.2f", t / hz / (g * s / 8) }')"
}

# User and system time of a process on mon, in clock ticks.
ticks() { at mon sed 's/.*) //' "/proc/$1/stat" | awk '{ print $12 + $13 }'; }

# Gbit/s in sum over the tunnels 1 to $1, one stream from fri in each.
streams() {
	i=1
	while [ "$i" -le "$1" ]; do
		inner=10.$(octets "$i").1
		at mon iperf3 -s -1 -D -B "$inner" >/dev/null 2>&1
		wait_for 100 "at mon ss -Hltn src $inner | grep -q ." || true
		i=$((i + 1))
	done
	i=1
	while [ "$i" -le "$1" ]; do
		at fri timeout $((SECONDS_EACH + 20)) iperf3 -J -t "$SECONDS_EACH" -c "10.$(octets "$i").1" >"$DIR/iperf.$i" 2>/dev/null </dev/null &
		i=$((i + 1))
	done
	wait
	i=1
	while [ "$i" -le "$1" ]; do
		received <"$DIR/iperf.$i"
		echo
		i=$((i + 1))
	done | awk '{ sum += $1 } END { printf "%.2f", sum }'
}

# Tunnel 0 naps after a second; all others stay awake.
wakes() {
	start_caller 0
	at fri ping -q -c 1 -W 5 "10.$(octets 0).1" >/dev/null
	wake_rounds "10.$(octets 0).1" "${BENCH_WAKES:-30}" '! at mon pgrep -f "t0[.]conf" >/dev/null'
	scaled "$n" wake50 "$(percentiles "$DIR/wakes" | cut -d ' ' -f 1)"
	scaled "$n" wake99 "$(percentiles "$DIR/wakes" | cut -d ' ' -f 2)"
}
