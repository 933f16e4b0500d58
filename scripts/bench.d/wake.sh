# What is measured in the laboratory, under a real xinetd: the wake, and one stream beside the bare path.

# Runs $1 with its arguments there.
in_lab() {
	"$here/needs" >&2
	build
	open_dir
	LAB_OWNER=$$ "$here/lab" up "$DIR"
	echo "machine: $(machine_model), $(nproc) processors, kernel $(uname -r), naptun $("$NAPTUN" --version | sed 's/.* //')"
	"$@"
}

# Every round is a real nap: idle timeout, bye, exit, then one packet wakes the next process.
wake() {
	rounds=${1:-200}
	at mon sh -c 'echo "inactive 1" >>/etc/naptun/tun-mon-fri.conf'
	"$here/lab" xinetd "$DIR" mon
	call
	wake_rounds 10.8.0.1 "$rounds" napping
	percentiles "$DIR/wakes" | awk -v lost="$lost" '
		{ printf "wake under xinetd: %d rounds, p50 %.2f ms, p99 %.2f ms, max %.2f ms, %d lost\n", $4 + lost, $1, $2, $3, lost }'
	echo "napping: $(pids mon | wc -w) processes of ours on mon"
	[ "$lost" -eq 0 ]
}

# Wakes the end at ADDRESS ROUNDS times, each time when NAPPING succeeds; the times are in DIR/wakes, failures in lost.
wake_rounds() {
	lost=0
	round=0
	: >"$DIR/wakes"
	while [ "$round" -lt "$2" ]; do
		wait_for 2000 "$3" || die 'the listener does not nap'
		# For 50 ms after the bye a caller holds its call back; a wake from a nap is measured here.
		sleep 0.1
		reply=$(at fri ping -c 1 -W 5 "$1" | sed -n 's/.*time=\([0-9.]*\) ms/\1/p')
		[ -n "$reply" ] || lost=$((lost + 1))
		echo "$reply" >>"$DIR/wakes"
		round=$((round + 1))
	done
	wait_for 2000 "$3" || die 'the listener does not nap'
}

napping() { [ -z "$(pids mon)" ]; }

# p50, p99, largest and number of the figures in FILE, one a line.
percentiles() {
	sort -n "$1" | awk '
		NF { t[++n] = $1 }
		function at(p) { i = int(n * p + 0.999999); return t[i < 1 ? 1 : i] }
		END { print at(0.50), at(0.99), t[n], n }'
}

tcp() {
	seconds=${1:-4}
	at mon sh -c 'echo "inactive 300" >>/etc/naptun/tun-mon-fri.conf'
	"$here/lab" xinetd "$DIR" mon
	call
	at fri ping -q -c 1 -W 5 10.8.0.1 >"$DIR/ping"
	printf '%-24s %s\n' 'TCP, 1 stream' 'Gbit/s, fri to mon / mon to fri'
	printf '%-24s %s / %s\n' 'no tunnel' "$(stream 192.0.2.1)" "$(stream 192.0.2.1 -R)"
	printf '%-24s %s / %s\n' "naptun, $(cipher)" "$(stream 10.8.0.1)" "$(stream 10.8.0.1 -R)"
	for host in mon fri; do
		for pid in $(pids $host | cut -d ' ' -f 1); do
			echo "memory on $host: $(at $host sed -n 's/^VmHWM:[ \t]*//p' "/proc/$pid/status") at most"
		done
	done
}

call() {
	at fri naptun --port timbuktu-srv1 --daemon --cd /etc/naptun --config tun-fri-mon.conf
}

cipher() { sed -n 's/.*cipher=\([^ ]*\).*/\1/p' "$DIR/fri/log" | tail -n 1; }

# Gbit/s of one stream from fri to ADDRESS, for $seconds.
stream() {
	at mon iperf3 -s -1 -D >"$DIR/iperf3" 2>&1
	target=$1
	shift
	wait_for 100 'at mon ss -Hltn sport = :5201 | grep -q .' || true
	printf %.2f "$(at fri iperf3 -J -t "$seconds" -c "$target" "$@" | received)"
}

# Gbit/s as the receiver counted, from the report of iperf3.
received() {
	awk '/"sum_received"/ { found = 1 } found && /"bits_per_second"/ { gsub(/[^0-9.e+]/, "", $2); printf "%.3f", $2 / 1e9; exit }'
}

# The tunnel's own process; helpers have other names.
pids() { at "$1" pidof naptun 2>/dev/null || true; }

at() {
	host=$1
	shift
	"$here/lab" exec "$DIR" "$host" "$@"
}
