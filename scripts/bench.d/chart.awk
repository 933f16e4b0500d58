# The chart: one TCP stream each way, the fastest contestant first. Its greys can be read on white and on black.
END {
	for (i = 1; i <= peers; i++) {
		id = ids[i]
		if (median(id, "tcp1_up") == "" || median(id, "tcp1_down") == "") continue
		sum = median(id, "tcp1_up") + median(id, "tcp1_down")
		if (sum > longest) longest = sum
		for (j = drawn++; j > 0 && total[order[j]] < sum; j--) order[j + 1] = order[j]
		order[j + 1] = id
		total[id] = sum
	}
	for (i = 1; i <= drawn; i++) {
		widest = larger(widest, larger(median(order[i], "tcp1_up"), median(order[i], "tcp1_down")))
	}
	width = 840; left = 240; room = 530; line = 42; top = 62
	printf "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"TCP throughput of tunnels, one stream each way\">\n", \
		width, top + drawn * line + 8, width, top + drawn * line + 8
	print "<style>text { font: 13px system-ui, -apple-system, \"Segoe UI\", \"DejaVu Sans\", sans-serif; fill: #76808b } .title { font-size: 15px; font-weight: 600 } .name { text-anchor: end } .ours { font-weight: 700; fill: #2f81c9 } .value { font-size: 11px }</style>"
	text(left, 22, "title", "TCP through the tunnel, one stream, Gbit/s")
	key(left, "#8b949e", "#2f81c9", 1, "fri to mon")
	key(left + 130, "#8b949e", "#2f81c9", 0.6, "mon to fri")
	for (i = 1; i <= drawn; i++) bars(order[i], top + (i - 1) * line)
	print "</svg>"
}

function key(x, plain, ours, opacity, label) {
	rectangle(x, 33, 12, plain, opacity)
	rectangle(x + 14, 33, 12, ours, opacity)
	text(x + 32, 43, "value", label)
}

function bars(id, y,    colour) {
	colour = is_ours(id) ? "#2f81c9" : "#8b949e"
	text(left - 10, y + 20, is_ours(id) ? "name ours" : "name", title[id])
	bar(y + 2, median(id, "tcp1_up"), colour, 1)
	bar(y + 17, median(id, "tcp1_down"), colour, 0.6)
}

function bar(y, x, colour, opacity,    length_) {
	length_ = larger(1, x / widest * room)
	rectangle(left, y, length_, colour, opacity)
	text(left + length_ + 6, y + 11, "value", short(x))
}

function rectangle(x, y, wide, colour, opacity) {
	printf "<rect x=\"%.1f\" y=\"%d\" width=\"%.1f\" height=\"13\" rx=\"2\" fill=\"%s\" fill-opacity=\"%s\"/>\n", x, y, wide, colour, opacity
}

function text(x, y, class, words) {
	gsub(/&/, "\\&amp;", words)
	gsub(/</, "\\&lt;", words)
	printf "<text x=\"%.1f\" y=\"%d\" class=\"%s\">%s</text>\n", x, y, class, words
}

function larger(a, b) { return a + 0 > b + 0 ? a : b }
