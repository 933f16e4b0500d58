# Two hosts, mon and fri, joined by one cable. Each is a network and a mount namespace without a name, inside the
# scratch namespaces of the run: nothing of it is visible outside, and with the run's first process everything ends.
#
#    mon eth0 192.0.2.1  2001:db8::1  --------  fri eth0 192.0.2.2  2001:db8::2       MTU 1500
#    inside the tunnel 10.8.0.1                 10.8.0.2

readonly CLEAN_PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

open_network() {
	for host in mon fri; do
		mkdir -p "$DIR/$host"
		# shellcheck disable=SC2016 # for the inner shell
		unshare --net --mount sh -c '
			mount -t tmpfs -o mode=755 tmpfs /run
			mount -t tmpfs -o mode=755 tmpfs /var/lib
			mkdir /var/lib/naptun
			: >"$0"
			exec sleep infinity' "$DIR/$host/ready" &
		echo $! >"$DIR/$host/pid"
		wait_for 500 "[ -e $DIR/$host/ready ]" || die "no namespace for $host"
	done
	on mon ip link add eth0 type veth peer name eth0 netns "$(cat "$DIR/fri/pid")"
	for host in mon fri; do
		ends $host
		on $host ip link set lo up
		on $host ip link set eth0 mtu 1500 up
		on $host ip address add "$OUTER/24" dev eth0
		on $host ip address add "$OUTER6/64" dev eth0 nodad
	done
}

# The addresses as HOST sees them: its own, and the other end's.
ends() {
	case $1 in
	mon) me=1 other=2 ;;
	fri) me=2 other=1 ;;
	esac
	OUTER=192.0.2.$me OTHER_OUTER=192.0.2.$other OUTER6=2001:db8::$me OTHER_OUTER6=2001:db8::$other
	INNER=10.8.0.$me OTHER_INNER=10.8.0.$other
}

on() { (become "$@"); }

# This shell turns into the command: what runs in the background has its number.
become() {
	pid=$(cat "$DIR/$1/pid")
	shift
	exec nsenter -t "$pid" -n -m env -i PATH="$CLEAN_PATH" LC_ALL=C "$@"
}

# Starts a tunnel process on HOST and notes when; its log is DIR/HOST/log.
launch() {
	host=$1
	shift
	# shellcheck disable=SC2016 # for the inner shell
	become "$host" sh -c 'date +%s%N >"$0"; exec "$@"' "$DIR/$host/started" "$@" </dev/null >>"$DIR/$host/log" 2>&1 &
	echo $! >>"$DIR/$host/tunnel"
}

# Ends what launch started, by its numbers, and takes away what devices are left.
stop_tunnel() {
	pids=$(cat "$DIR/mon/tunnel" "$DIR/fri/tunnel" 2>/dev/null || true)
	signal_all TERM
	sleep 0.3
	signal_all KILL
	for pid in $pids; do wait "$pid" 2>/dev/null || true; done
	for host in mon fri; do
		for device in $(on $host ip -o link | sed -n 's/^[0-9]*: \([^:@]*\).*/\1/p'); do
			case $device in lo | eth0) ;; *) on $host ip link delete "$device" 2>/dev/null || true ;; esac
		done
		# A socket left behind would look like the next one.
		on $host rm -rf /run/wireguard
		rm -f "$DIR/$host/tunnel" "$DIR/$host/started" "$DIR/$host/log"
	done
}

signal_all() {
	for pid in $pids; do kill -"$1" "$pid" 2>/dev/null || true; done
}
