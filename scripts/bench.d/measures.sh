# What is measured of one contestant, each as a line of figures. `up` is from fri to mon, `down` from mon to fri.

# A figure: of contestant $1 the measure $2 in this round.
note() { [ -z "$3" ] || printf 'value\t%s\t%s\t%s\t%s\n' "$1" "$2" "$ROUND" "$3" >>"$DIR/figures.tsv"; }

measure() {
	say "$(title "$1")"
	note "$1" tcp1_up "$(tcp_stream "$1" -P 1)"
	note "$1" tcp1_down "$(tcp_stream "$1" -P 1 -R)"
	note "$1" tcp4_up "$(tcp_stream "$1" -P 4)"
	note "$1" tcp4_down "$(tcp_stream "$1" -P 4 -R)"
	for size in 64 512 1200; do note "$1" "udp$size" "$(udp_rate "$1" $size)"; done
	echoes "$1" idle
	loaded "$1"
	note "$1" memory "$(peak_memory)"
}

# The other end is up already. The clock starts where the shell turns into the program.
cold_start() {
	start "$1" mon
	sleep 1
	become fri "$DIR/blast" first "$(target "$1")" >"$DIR/first" 2>/dev/null &
	first=$!
	sleep 0.1
	start "$1" fri
	wait $first || return 1
	[ "$1" = none ] || note "$1" cold "$(awk -v from="$(cat "$DIR/fri/started")" '{ printf "%.1f", ($1 - from) / 1e6 }' "$DIR/first")"
	# A tunnel may still be finding out about the path.
	on fri ping -q -c 20 -i 0.1 -W 2 "$(target "$1")" >/dev/null
}

# Gbit/s, as the receiver counts.
tcp_stream() {
	sink
	target=$(target "$1")
	shift
	on fri timeout $((SECONDS_EACH + 20)) iperf3 -J -t "$SECONDS_EACH" -c "$target" "$@" 2>/dev/null </dev/null | received
	end_sink
}

sink() {
	become mon iperf3 -s -1 >/dev/null 2>&1 </dev/null &
	sink=$!
	wait_for 300 'on mon ss -Hltn sport = :5201 | grep -q .' || true
}

end_sink() {
	kill "$sink" 2>/dev/null || true
	wait "$sink" 2>/dev/null || true
}

# Datagrams a second. The search begins where it ended last time.
udp_rate() {
	guess=$DIR/guess.$1.$2
	[ -s "$guess" ] || guess=$DIR/guess.$1
	[ -s "$guess" ] || echo 20000 >"$guess"
	rate=$("$DIR/blast" udp "/proc/$(cat "$DIR/mon/pid")/ns/net" "/proc/$(cat "$DIR/fri/pid")/ns/net" \
		"$(target "$1")" "$2" "$(cat "$guess")" </dev/null) || return 0
	[ "$rate" = 0 ] || echo "$rate" | tee "$DIR/guess.$1" >"$DIR/guess.$1.$2"
	echo "$rate"
}

# Round trips in ms: a lost one took for ever.
echoes() {
	on fri ping -n -c 1000 -i 0.002 -W 1 "$(target "$1")" >"$DIR/ping" 2>&1 </dev/null || true
	sed -n 's/.*time=\([0-9.]*\) ms.*/\1/p' "$DIR/ping" | sort -n >"$DIR/times"
	sent=$(sed -n 's/^\([0-9]*\) packets transmitted.*/\1/p' "$DIR/ping")
	for percent in 50 99; do
		note "$1" "$2$percent" "$(awk -v n="${sent:-0}" -v p=$percent '
			{ t[NR] = $1 } END { i = int(n * p / 100 + 0.999999); if (i > 0) print (i > NR ? 9999 : t[i]) }' "$DIR/times")"
	done
}

# The same while one TCP stream fills the tunnel in the direction of the requests.
loaded() {
	sink
	become fri iperf3 -t 60 -c "$(target "$1")" >/dev/null 2>&1 </dev/null &
	load=$!
	sleep 0.5
	echoes "$1" loaded
	kill "$load" 2>/dev/null || true
	wait "$load" 2>/dev/null || true
	end_sink
}

# MB, the larger of the two ends. Without a process there is none.
peak_memory() {
	cat "$DIR/mon/tunnel" "$DIR/fri/tunnel" 2>/dev/null | while read -r pid; do
		sed -n 's/^VmHWM:[ \t]*\([0-9]*\).*/\1/p' "/proc/$pid/status"
	done | sort -n | tail -n 1 | awk '{ printf "%.1f", $1 / 1024 }'
}

# MB, without its symbols.
binary_size() {
	binary=$(binary "$1")
	[ -n "$binary" ] || return 0
	strip -o "$DIR/stripped" "$binary"
	stat -c %s "$DIR/stripped" | awk '{ printf "%.2f", $1 / 1e6 }'
}

say() { echo "bench: round $ROUND of $ROUNDS: $1" >&2; }
