# What naptun has to reach, and whether it did. A verdict needs both figures: without a peer it is open.
END {
	each_way("naptun-aes", 10, "openvpn-static")
	each_way("naptun-aes", 5, "gotatun boringtun fastd tinc")
	each_way("naptun-aes", 2, "wireguard-go")
	each_way("naptun-aes", 0.45, "vxlan")
	each_way("naptun-chacha", 8, "openvpn-static")
	each_way("naptun-chacha", 4, "gotatun boringtun fastd tinc")
	each_way("naptun-chacha", 1.5, "wireguard-go")
	each_way("naptun-chacha", 0.33, "vxlan")
	at_least("UDP 1200 without loss", "naptun-aes", "udp1200", 2, "")
	at_least("UDP 64 without loss", "naptun-aes", "udp64", 2, "")
	at_most("ping idle p50", "naptun-aes", "idle50", "")
	at_most("ping loaded p99", "naptun-aes", "loaded99", "")
	same("tap", "naptun-tap")
	same("IPv6", "naptun-ipv6")
	limit("memory awake", "memory", 4)
	limit("binary", "size", 2)
}

function each_way(ours, factor, others) {
	at_least("TCP fri to mon", ours, "tcp1_up", factor, others)
	at_least("TCP mon to fri", ours, "tcp1_down", factor, others)
}

function at_least(what, ours, measure, factor, others,    a, b) {
	a = median(ours, measure)
	b = best(others, measure, 1)
	verdict(what, ours, a != "" && b != "", a >= factor * b, \
		sprintf("%s, wanted %s x %s of %s, is %s x", short(a), factor, short(b), winner, short(ratio(a, b))))
}

function at_most(what, ours, measure, others,    a, b) {
	a = median(ours, measure)
	b = best(others, measure, -1)
	verdict(what, ours, a != "" && b != "", a <= b, sprintf("%s ms, wanted at most %s ms of %s", short(a), short(b), winner))
}

function same(what, other) {
	near(what " fri to mon", other, "tcp1_up")
	near(what " mon to fri", other, "tcp1_down")
}

function near(what, other, measure,    a, b) {
	a = median(other, measure)
	b = median("naptun-aes", measure)
	verdict("TCP, " what, other, a != "" && b != "", a >= 0.9 * b, sprintf("%s, wanted 0.9 x %s, is %s x", short(a), short(b), short(ratio(a, b))))
}

function limit(what, measure, most,    a) {
	a = median("naptun-aes", measure)
	verdict(what, "naptun-aes", a != "", a <= most, sprintf("%s MB, wanted at most %s MB", short(a), most))
}

function verdict(what, ours, known, reached, why) {
	printf "%-7s %-24s %-14s %s\n", known ? (reached ? "reached" : "MISSED") : "open", what, ours, why
}
