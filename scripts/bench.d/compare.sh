# The comparison: rounds over all contestants, one after the other, so that a slow minute of the machine meets them all.

compare_all() {
	compare "$(all_ids)"
	publish "$DIR/figures.tsv" compare
}

compare_some() {
	[ $# -gt 0 ] || { contestants >&2; exit 64; }
	wanted=
	for name; do
		found=$(all_ids | grep -E "^$name(-|\$)") || die "no contestant $name"
		wanted="$wanted $found"
	done
	compare "$wanted"
}

compare() {
	[ "$(id -u)" = 0 ] || die 'needs root'
	get_tools
	build
	get_peers "$1"
	open_dir
	build_blast
	# Interrupts are ours alone: what runs inside ends with its first process.
	# shellcheck disable=SC2086 # a list
	BENCH_SECONDS=$SECONDS_EACH BENCH_ROUNDS=$ROUNDS \
		setsid setpriv --pdeathsig KILL unshare --fork --kill-child --pid --mount --mount-proc --net \
		"$here/bench" _inside "$DIR" $1 </dev/null &
	child=$!
	wait "$child"
	child=
	figures report "$DIR/figures.tsv"
	echo
	figures verdicts "$DIR/figures.tsv"
}

# The first process of its namespaces.
compare_inside() {
	DIR=$1
	shift
	facts
	open_network
	prepare
	for id; do introduce "$id"; done
	ROUND=1
	while [ "$ROUND" -le "$ROUNDS" ]; do
		for id; do
			[ -e "$DIR/missing.$id" ] || one_round "$id"
		done
		ROUND=$((ROUND + 1))
	done
}

facts() {
	printf 'fact\t%s\t%s\n' machine "$(machine_model), $(nproc) processors" kernel "$(uname -r)" date "$(date -u +%Y-%m-%d)" \
		rounds "$ROUNDS" seconds "$SECONDS_EACH" iperf3 "$(iperf3 --version | sed -n '1s/iperf //p')" >>"$DIR/figures.tsv"
}

introduce() {
	binary=$(binary "$1")
	printf 'peer\t%s\t%s\t' "$1" "$(title "$1")" >>"$DIR/figures.tsv"
	if [ -n "$binary" ] && [ ! -x "$binary" ]; then
		echo >>"$DIR/figures.tsv"
		missing "$1" 'not to be had on this machine'
		: >"$DIR/missing.$1"
		return 0
	fi
	version "$1" >>"$DIR/figures.tsv"
	ROUND=0
	note "$1" size "$(binary_size "$1")"
}

one_round() {
	if cold_start "$1"; then measure "$1"; else missing "$1" "does not start: $(last_words)"; fi
	stop_tunnel
}

# The last line of the logs, an error if there is one.
last_words() {
	cat "$DIR/mon/log" "$DIR/fri/log" 2>/dev/null | sed "s/$(printf '\033')[^m]*m//g" | tr '\t' ' ' | awk '
		NF { last = $0 }
		tolower($0) ~ /error|fail|cannot|refused/ { error = $0 }
		END { print substr(error ? error : last, 1, 150) }'
}

missing() {
	printf 'missing\t%s\t%s\n' "$1" "$2" >>"$DIR/figures.tsv"
	echo "bench: $1: $2" >&2
}

# Puts the figures of one part, compare or scale, in the place of the older ones of that part.
publish() {
	kept=$REPO/doc/bench.tsv
	[ -e "$kept" ] || : >"$kept"
	if [ "$2" = scale ]; then
		{ grep -v '^scale' "$kept" || true; cat "$1"; } >"$DIR/merged"
	else
		{ cat "$1"; grep '^scale' "$kept" || true; } >"$DIR/merged"
	fi
	cat "$DIR/merged" >"$kept"
	report_again "$kept"
	echo "written: doc/bench.md, doc/bench.svg, doc/bench.tsv" >&2
}

report_again() {
	[ -s "$1" ] || die "no figures in $1"
	figures report "$1" >"$REPO/doc/bench.md"
	figures chart "$1" >"$REPO/doc/bench.svg"
	printf '\n![TCP throughput, one stream](bench.svg)\n' >>"$REPO/doc/bench.md"
}
