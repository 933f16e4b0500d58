# The page: doc/bench.md, all of it but the chart.
END {
	if (peers) comparison()
	if (scales) many()
}

function comparison() {
	print "# naptun beside other tunnels\n"
	print "Made by `scripts/bench`. Medians of " fact["rounds"] " rounds; machines differ and are shared, so compare the figures of one run only.\n"
	print "- machine: " fact["machine"]
	print "- kernel: " fact["kernel"] ", iperf3 " fact["iperf3"]
	print "- date: " fact["date"] "\n"
	contestants()
	method()
	tcp()
	udp()
	latency()
	ratios()
}

function contestants(    i) {
	print "| contestant | version |\n|---|---|"
	for (i = 1; i <= peers; i++)
		print "| " title[ids[i]] " | " (absent(ids[i]) ? "missing: " reason[ids[i]] : version[ids[i]]) " |"
	print ""
}

function method() {
	print "## How\n"
	print "Two network namespaces, mon and fri, are joined by one veth pair of MTU 1500 with the kernel's usual offloads. Both ends of"
	print "a tunnel and both traffic programs share this machine's processors. Every contestant is started, warmed up with a"
	print "ping, measured and stopped before the next one; the rounds go over all contestants in turn. Peers run with their"
	print "defaults; WireGuard's, fastd's and naptun's devices have MTU 1420, naptun's tap, OpenVPN's and tinc's 1500.\n"
	print "- TCP: iperf3 for " fact["seconds"] " s each, 1 and 4 streams, the receiver's figure."
	print "- UDP: the highest rate without loss from fri to mon, where at most 1 of 1000 datagrams is lost in half a second and"
	print "  the source keeps at least 98 % of the rate. It is searched to within 3 %; a rate has failed when it failed twice."
	print "  `scripts/bench.d/blast.c` sends evenly, one tick in 0.1 ms, without segmentation offload, and with real-time priority."
	print "- ping: 1000 echoes, one in 2 ms, with the tunnel idle and with one TCP stream in the same direction."
	print "- cold start: mon's end is up; from the execution of fri's end, commands for its addresses included, to the first answer"
	print "  to one of many echoes, one a millisecond."
	print "- memory: the peak (VmHWM) of the tunnel's process, the larger of the two ends. Size: of the stripped binary, without"
	print "  its shared libraries.\n"
}

function tcp(    i, id) {
	print "## TCP\n"
	print "Gbit/s.\n"
	print "| | 1 stream, fri to mon | 1 stream, mon to fri | 4 streams, fri to mon | 4 streams, mon to fri |\n|---|---:|---:|---:|---:|"
	for (i = 1; i <= peers; i++) {
		id = ids[i]
		if (absent(id)) continue
		print row(id) cell(id, "tcp1_up") cell(id, "tcp1_down") cell(id, "tcp4_up") cell(id, "tcp4_down")
	}
	print ""
}

function udp(    i, id) {
	print "## UDP\n"
	print "The highest rate without loss, in thousands of datagrams a second, and the payload in Gbit/s. Where no tunnel is in the way"
	print "it is the generator's own limit.\n"
	print "| | 64 bytes, k/s | 512 bytes, k/s | 1200 bytes, k/s | 64 bytes, Gbit/s | 512 bytes, Gbit/s | 1200 bytes, Gbit/s |\n|---|---:|---:|---:|---:|---:|---:|"
	for (i = 1; i <= peers; i++) {
		id = ids[i]
		if (absent(id)) continue
		print row(id) datagrams(id, 64) datagrams(id, 512) datagrams(id, 1200) bits(id, 64) bits(id, 512) bits(id, 1200)
	}
	print ""
}

function datagrams(id, size) { return " " short(scaled(median(id, "udp" size), 1000)) " |" }
function bits(id, size) { return " " short(scaled(median(id, "udp" size), 1e9 / 8 / size)) " |" }
function scaled(x, by) { return x == "" ? "" : x / by }

function latency(    i, id) {
	print "## Latency, start, memory, size\n"
	print "Round trips and start in ms, memory and size in MB.\n"
	print "| | idle, p50 | idle, p99 | loaded, p50 | loaded, p99 | cold start | memory | size |\n|---|---:|---:|---:|---:|---:|---:|---:|"
	for (i = 1; i <= peers; i++) {
		id = ids[i]
		if (absent(id)) continue
		print row(id) time(id, "idle50") time(id, "idle99") time(id, "loaded50") time(id, "loaded99") cell(id, "cold") cell(id, "memory") cell(id, "size")
	}
	print ""
}

function row(id) { return "| " (is_ours(id) ? "**" title[id] "**" : title[id]) " |" }
function cell(id, measure) { return " " short(median(id, measure)) " |" }
function time(id, measure) { return median(id, measure) >= 9999 ? " lost |" : cell(id, measure) }

function ratios(    i, id) {
	print "## naptun against each\n"
	print "How many times as fast naptun is: TCP with 1 stream, fri to mon / mon to fri, and UDP of 64 / 1200 bytes without loss.\n"
	print "| | AES-256-GCM, TCP | ChaCha20-Poly1305, TCP | AES-256-GCM, UDP | ChaCha20-Poly1305, UDP |\n|---|---:|---:|---:|---:|"
	for (i = 1; i <= peers; i++) {
		id = ids[i]
		if (absent(id) || is_ours(id)) continue
		print "| " title[id] " |" times("naptun-aes", id, "tcp1_up", "tcp1_down") times("naptun-chacha", id, "tcp1_up", "tcp1_down") \
			times("naptun-aes", id, "udp64", "udp1200") times("naptun-chacha", id, "udp64", "udp1200")
	}
	print ""
}

function times(ours, id, one, two) {
	return " " short(ratio(median(ours, one), median(id, one))) " / " short(ratio(median(ours, two), median(id, two))) " |"
}

function many(    i, n) {
	print "## Many tunnels on one host\n"
	print "N tunnels wait on mon under one xinetd, each with an entry, a port and a configuration of its own; fri calls."
	print "CPU is the listener's own, user and system, for one stream from fri while all other tunnels are awake and idle."
	print "Machine: " scale["all", "machine"] "; " scale["all", "date"] ".\n"
	print "| tunnels | naptun processes napping | xinetd napping, MB | awake | carry traffic | VmHWM of each, median / largest, MB | Pss in sum, MB | wake p50 / p99, ms | TCP over up to 10 at once, Gbit/s | TCP over one, Gbit/s | CPU s per GB |"
	print "|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|"
	for (i = 1; i <= scales; i++) {
		n = sizes[i]
		if (n == "all") continue
		print "| " n " | " scale[n, "napping"] " | " scale[n, "xinetd"] " | " scale[n, "awake"] " | " scale[n, "carry"] " | " \
			scale[n, "hwm50"] " / " scale[n, "hwmmax"] " | " scale[n, "pss"] " | " scale[n, "wake50"] " / " scale[n, "wake99"] " | " \
			scale[n, "sum"] " | " scale[n, "one"] " | " scale[n, "cpu"] " |"
	}
	print ""
}
