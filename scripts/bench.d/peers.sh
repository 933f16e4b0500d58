# The contestants: who they are, how each is set up, and how one end of each is started.

# id, title
contestants() {
	cat <<-END
		none no tunnel
		vxlan vxlan (kernel, no cipher)
		naptun-aes naptun, AES-256-GCM
		naptun-chacha naptun, ChaCha20-Poly1305
		naptun-plain naptun, AES, offload off
		naptun-tap naptun, AES, tap
		naptun-ipv6 naptun, AES, over IPv6
		openvpn-static OpenVPN, static key
		openvpn-tls OpenVPN, TLS
		wireguard-go wireguard-go
		boringtun boringtun
		gotatun gotatun
		fastd fastd
		tinc tinc
	END
}

all_ids() { contestants | cut -d ' ' -f 1; }

title() { contestants | sed -n "s/^$1 //p"; }

binary() {
	case $1 in
	naptun-*) echo "$NAPTUN" ;;
	openvpn-*) echo "$OPENVPN" ;;
	wireguard-go) echo "$WIREGUARD_GO" ;;
	boringtun) echo "$BORINGTUN" ;;
	gotatun) echo "$GOTATUN" ;;
	fastd) echo "$FASTD" ;;
	tinc) echo "$TINCD" ;;
	esac
}

# With what matters for the comparison.
version() {
	binary=$(binary "$1")
	case $1 in
	none | vxlan) echo "kernel $(uname -r)" ;;
	naptun-*) echo "naptun $("$binary" --version | sed 's/.* //')" ;;
	openvpn-static) echo "OpenVPN $("$binary" --version | sed -n '1s/OpenVPN \([^ ]*\).*/\1/p'), --secret, AES-256-CBC with SHA256" ;;
	openvpn-tls) echo "OpenVPN $("$binary" --version | sed -n '1s/OpenVPN \([^ ]*\).*/\1/p'), ChaCha20-Poly1305, DCO off" ;;
	wireguard-go) echo "wireguard-go $(wireguard_go_version "$binary")" ;;
	boringtun) echo "boringtun-cli $("$binary" --version | sed 's/.* //')" ;;
	gotatun) echo "gotatun-cli $("$binary" --version | sed -n '1s/.* //p')" ;;
	fastd) echo "fastd $("$binary" --version | sed 's/.* v*//'), salsa2012+umac" ;;
	tinc) echo "tinc $("$binary" --version | sed -n '1s/.*version \([^ ]*\).*/\1/p'), AES-256-CBC with SHA256" ;;
	esac
}

# The number that it prints is not raised with every release; the package's is.
wireguard_go_version() {
	if [ "$1" = "$PEERS/wireguard-go/usr/bin/wireguard-go" ]; then
		echo "$(cat "$PEERS/wireguard-go/version") (Debian unstable)"
	else
		"$1" --version | sed -n '1s/.* v*//p'
	fi
}

# Where the traffic of mon's end goes to.
target() { [ "$1" = none ] && echo 192.0.2.1 || echo 10.8.0.1; }

# Keys, before anything runs: the same for every round.
prepare() {
	KEYS=$DIR/keys
	mkdir -m 700 "$KEYS"
	"$NAPTUN" --genkey --secret "$KEYS/static.key"
	for host in mon fri; do
		openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj "/CN=$host" \
			-keyout "$KEYS/$host.tls" -out "$KEYS/$host.crt" 2>/dev/null
		openssl x509 -noout -fingerprint -sha256 -in "$KEYS/$host.crt" | sed 's/.*=//' >"$KEYS/$host.fingerprint"
		if command -v wg >/dev/null; then
			(umask 077 && wg genkey >"$KEYS/$host.wg")
			wg pubkey <"$KEYS/$host.wg" >"$KEYS/$host.wg.pub"
		fi
		if [ -x "$FASTD" ]; then
			"$FASTD" --generate-key >"$KEYS/$host.fastd" 2>&1
		fi
		if [ -x "$TINCD" ]; then
			tinc_keys $host
		fi
	done
	if [ -x "$TINCD" ]; then
		cp "$KEYS/tinc-mon/hosts/mon" "$KEYS/tinc-fri/hosts/"
		cp "$KEYS/tinc-fri/hosts/fri" "$KEYS/tinc-mon/hosts/"
	fi
}

peer_of() { [ "$1" = mon ] && echo fri || echo mon; }

# Starts HOST's end of contestant ID.
start() {
	id=$1
	ends "$2"
	case $id in
	none) ;;
	vxlan) start_vxlan "$2" ;;
	naptun-*) start_naptun "$2" ;;
	openvpn-*) start_openvpn "$2" ;;
	wireguard-go) start_wireguard "$2" "$WIREGUARD_GO" -f wg0 ;;
	boringtun) start_wireguard "$2" "$BORINGTUN" -f --disable-drop-privileges wg0 ;;
	gotatun) start_wireguard "$2" "$GOTATUN" -f --disable-drop-privileges wg0 ;;
	fastd) start_fastd "$2" ;;
	tinc) launch "$2" "$TINCD" -c "$KEYS/tinc-$2" -D --pidfile=/run/tinc.pid ;;
	esac
}

start_vxlan() {
	date +%s%N >"$DIR/$1/started"
	on "$1" ip -batch - <<-END
		link add vx0 type vxlan id 7 local $OUTER remote $OTHER_OUTER dstport 4789 dev eth0
		address add $INNER/24 dev vx0
		link set vx0 up
	END
}

start_naptun() {
	config=$DIR/$1/$id.conf
	{
		echo "secret $KEYS/static.key"
		echo 'inactive 0'
		case $id in
		naptun-tap) printf 'dev tap\nifconfig %s 255.255.255.0\n' "$INNER" ;;
		*) printf 'dev tun\nifconfig %s %s\n' "$INNER" "$OTHER_INNER" ;;
		esac
		case $id in
		naptun-chacha) echo 'data-ciphers CHACHA20-POLY1305' ;;
		*) echo 'data-ciphers AES-256-GCM' ;;
		esac
		[ "$id" != naptun-plain ] || echo 'disable-offload'
		case $1,$id in
		fri,naptun-ipv6) echo "remote $OTHER_OUTER6" ;;
		fri,*) echo "remote $OTHER_OUTER" ;;
		esac
	} >"$config"
	launch "$1" "$NAPTUN" --port 1417 --cd "$DIR/$1" --config "$id.conf"
}

start_openvpn() {
	host=$1
	set -- --dev tun --proto udp --port 1194 --remote "$OTHER_OUTER" --ifconfig "$INNER" "$OTHER_INNER" --verb 1
	case $id,$host in
	openvpn-static,*) set -- "$@" --secret "$KEYS/static.key" --cipher AES-256-CBC --auth SHA256 ;;
	openvpn-tls,mon) set -- "$@" --tls-server --dh none ;;
	openvpn-tls,fri) set -- "$@" --tls-client ;;
	esac
	if [ "$id" = openvpn-tls ]; then
		set -- "$@" --cert "$KEYS/$host.crt" --key "$KEYS/$host.tls" --data-ciphers CHACHA20-POLY1305 --disable-dco \
			--peer-fingerprint "$(cat "$KEYS/$(peer_of "$host").fingerprint")"
	fi
	launch "$host" "$OPENVPN" "$@"
}

start_wireguard() {
	host=$1
	shift
	cat >"$DIR/$host/wg.conf" <<-END
		[Interface]
		PrivateKey = $(cat "$KEYS/$host.wg")
		ListenPort = 51820
		[Peer]
		PublicKey = $(cat "$KEYS/$(peer_of "$host").wg.pub")
		AllowedIPs = 10.8.0.0/24
		Endpoint = $OTHER_OUTER:51820
	END
	launch "$host" "$@"
	# shellcheck disable=SC2016 # for the inner shell
	on "$host" sh -c '
		tries=1000
		until [ -S /run/wireguard/wg0.sock ] || [ "$tries" = 0 ]; do sleep 0.002; tries=$((tries - 1)); done
		wg setconf wg0 "$0" && ip address add "$1/24" dev wg0 && ip link set wg0 mtu 1420 up' \
		"$DIR/$host/wg.conf" "$INNER" >>"$DIR/$host/log" 2>&1 || true
}

start_fastd() {
	cat >"$DIR/$1/fastd.conf" <<-END
		log to stderr level warn;
		mode tun;
		interface "fastd0";
		mtu 1420;
		method "salsa2012+umac";
		bind $OUTER:10000;
		secret "$(sed -n 's/^Secret: *//p' "$KEYS/$1.fastd")";
		on up "ip address add $INNER/24 dev fastd0; ip link set fastd0 up";
		peer "other" {
			key "$(sed -n 's/^Public: *//p' "$KEYS/$(peer_of "$1").fastd")";
			remote $OTHER_OUTER:10000;
		}
	END
	launch "$1" "$FASTD" --config "$DIR/$1/fastd.conf"
}

tinc_keys() {
	ends "$1"
	folder=$KEYS/tinc-$1
	mkdir -p "$folder/hosts"
	printf 'Name = %s\nInterface = tinc0\nConnectTo = %s\n' "$1" "$(peer_of "$1")" >"$folder/tinc.conf"
	# The defaults of tinc 1.0 are Blowfish and SHA1; tinc's own manual recommends these.
	printf 'Address = %s\nSubnet = %s/32\nCipher = aes-256-cbc\nDigest = sha256\n' "$OUTER" "$INNER" >"$folder/hosts/$1"
	printf '#!/bin/sh\nip address add %s/24 dev tinc0\nip link set tinc0 up\n' "$INNER" >"$folder/tinc-up"
	chmod 755 "$folder/tinc-up"
	"$TINCD" -c "$folder" -K 2048 </dev/null >/dev/null 2>&1
}
