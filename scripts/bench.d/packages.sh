# Where the peers come from. What is not a package of this Debian goes to .cache/peers; nothing is installed over
# the system's own. A peer that is not to be had is named in the report, and the run goes on.

readonly PEERS="$REPO/.cache/peers"

get_tools() {
	"$here/needs" unshare:util-linux ip:iproute2 ping:iputils-ping iperf3:iperf3 cc:gcc strip:binutils openssl:openssl >&2
	mkdir -p "$PEERS"
}

# The packages of the peers in the list of contestants $1.
get_peers() {
	for id in $1; do
		case $id in
		openvpn-*) [ -n "${OPENVPN:-}" ] || get package openvpn:openvpn ;;
		fastd) [ -n "${FASTD:-}" ] || get package fastd:fastd ;;
		tinc) [ -n "${TINCD:-}" ] || get package tincd:tinc ;;
		wireguard-go)
			get package wg:wireguard-tools
			[ -n "${WIREGUARD_GO:-}" ] || get newest_wireguard_go
			;;
		boringtun)
			get package wg:wireguard-tools
			[ -n "${BORINGTUN:-}" ] || get crate boringtun-cli boringtun-cli
			;;
		gotatun)
			get package wg:wireguard-tools
			[ -n "${GOTATUN:-}" ] || get crate gotatun-cli gotatun
			;;
		esac
	done
	OPENVPN=${OPENVPN:-$(find_tool openvpn)} FASTD=${FASTD:-$(find_tool fastd)} TINCD=${TINCD:-$(find_tool tincd)}
	WIREGUARD_GO=${WIREGUARD_GO:-$PEERS/wireguard-go/usr/bin/wireguard-go}
	BORINGTUN=${BORINGTUN:-$PEERS/bin/boringtun-cli} GOTATUN=${GOTATUN:-$PEERS/bin/gotatun}
	export OPENVPN FASTD TINCD WIREGUARD_GO BORINGTUN GOTATUN
}

# In a shell of its own: what fails here fails alone.
get() { ("$@") >&2 </dev/null || echo "bench: not to be had: $*" >&2; }

package() { "$here/needs" "$1"; }

find_tool() { command -v "$1" || echo "$1"; }

crate() {
	[ ! -x "$PEERS/bin/$2" ] || return 0
	echo "bench: building $1 into .cache/peers"
	nice cargo install --quiet --locked --root "$PEERS" "$1"
}

# A stable Debian's is years old and has no offload. That of unstable runs on it, unpacked from the same mirror by an
# apt with lists of its own; the system's are not touched.
newest_wireguard_go() {
	[ ! -x "$PEERS/wireguard-go/usr/bin/wireguard-go" ] || return 0
	echo 'bench: unpacking the newest wireguard-go into .cache/peers'
	work=$(mktemp -d "$PEERS/apt.XXXXXX")
	# shellcheck disable=SC2064 # now
	trap "rm -rf $work" EXIT
	# apt downloads as a user of its own.
	chmod 755 "$work"
	mkdir -p "$work/lists/partial" "$work/cache/archives/partial" "$work/deb"
	# shellcheck disable=SC2016 # apt's own variables
	mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep '/debian/$' | head -n 1)
	echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror sid main" >"$work/sources.list"
	unstable_apt update
	(cd "$work/deb" && chmod 777 . && unstable_apt download wireguard-go)
	dpkg -x "$work"/deb/wireguard-go_*.deb "$work/root"
	dpkg-deb -f "$work"/deb/wireguard-go_*.deb Version >"$work/root/version"
	rm -rf "$PEERS/wireguard-go"
	mv "$work/root" "$PEERS/wireguard-go"
}

unstable_apt() {
	apt-get -qq -o Dir::Etc::sourcelist="$work/sources.list" -o Dir::Etc::sourceparts=/dev/null \
		-o Dir::State::lists="$work/lists" -o Dir::Cache="$work/cache" \
		-o Acquire::Languages=none -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false "$@"
}

build_blast() { cc -O2 -pthread -o "$DIR/blast" "$PARTS/blast.c" -lm; }
