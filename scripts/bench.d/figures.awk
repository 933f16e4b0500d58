# Reads the figures, for the programs that follow: tab-separated lines
#   fact NAME TEXT | peer ID TITLE VERSION | missing ID REASON | value ID MEASURE ROUND FIGURE | scale N MEASURE FIGURE
BEGIN { FS = "\t" }
$1 == "fact" { fact[$2] = $3 }
$1 == "peer" { ids[++peers] = $2; title[$2] = $3; version[$2] = $4 }
$1 == "missing" { reason[$2] = $3 }
$1 == "value" { figures[$2, $3, ++rounds[$2, $3]] = $5 + 0 }
$1 == "scale" { if (!(($2, "seen") in scale)) sizes[++scales] = $2; scale[$2, "seen"] = 1; scale[$2, $3] = $4 }

# Of the rounds; empty where nothing was measured.
function median(id, measure,    n, i, j, x, sorted) {
	n = rounds[id, measure] + 0
	for (i = 1; i <= n; i++) {
		x = figures[id, measure, i]
		for (j = i - 1; j > 0 && sorted[j] > x; j--) sorted[j + 1] = sorted[j]
		sorted[j + 1] = x
	}
	if (n == 0) return ""
	return n % 2 ? sorted[(n + 1) / 2] : (sorted[n / 2] + sorted[n / 2 + 1]) / 2
}

# Three digits that count; a dash for nothing.
function short(x) {
	if (x == "") return "-"
	return sprintf(x >= 100 ? "%.0f" : x >= 10 ? "%.1f" : x >= 1 ? "%.2f" : "%.3f", x)
}

function ratio(a, b) { return a == "" || b == "" || b == 0 ? "" : a / b }

function is_ours(id) { return id ~ /^naptun/ }

# A tunnel that is a process, but not ours.
function is_peer(id) { return id != "none" && id != "vxlan" && !is_ours(id) }

# The best median of a list of contestants, "" for every peer; the largest where sign is 1, the smallest where it is -1.
function best(list, measure, sign,    i, x, found) {
	winner = ""
	found = ""
	for (i = 1; i <= peers; i++) {
		if (list == "" ? !is_peer(ids[i]) : index(" " list " ", " " ids[i] " ") == 0) continue
		x = median(ids[i], measure)
		if (x != "" && (found == "" || sign * x > sign * found)) { found = x; winner = ids[i] }
	}
	return found
}

# Of whom nothing was measured.
function absent(id) { return median(id, "tcp1_up") == "" }
