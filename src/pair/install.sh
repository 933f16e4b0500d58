#!/bin/sh
# Installs one end of a naptun tunnel, made by `naptun pair`. Run it as root on the host that it is for: sh install
# It looks at everything first, and changes nothing that belongs to somebody else. A second run changes nothing.
set -eu

# (settings)
readonly HOME_DIR=/etc/naptun UNITS=/etc/systemd/system SHARED=/usr/share/naptun

main() {
	cd "$(dirname "$0")"
	right_host
	look
	place
	[ "$FORWARD" = no ] || forward
	[ "$BRIDGE" = no ] || bridge
	echo "install: $HOME_DIR/$STEM.conf and its key are in place"
	# The doctor has the first word and the last.
	judge --files-only "nothing was started"
	"start_$ROLE"
	judge "" "what is above was started all the same"
	echo "install: done"
}

right_host() {
	[ "$(id -u)" = 0 ] || die "needs root"
	command -v /usr/sbin/naptun >/dev/null || die "/usr/sbin/naptun is missing; install naptun first"
	name=$(uname -n)
	[ "${name%%.*}" != "${OTHER%%.*}" ] || [ "$OTHER" = "$HOST" ] || [ "${OTHER%%.*}" = "${HOST%%.*}" ] ||
		die "this is $name, and the folder is for $HOST"
}

# Everything that could be in the way, before anything is changed.
look() {
	vacant "$STEM.conf" "$HOME_DIR/$STEM.conf"
	vacant "$TUNNEL.key" "$HOME_DIR/$TUNNEL.key"
	[ ! -e services ] || each_service known_otherwise
	[ "$ROLE" = listener ] || return 0
	[ ! -e bridge.conf ] || vacant bridge.conf "$HOME_DIR/bridge.conf"
	# shellcheck disable=SC2153 # of the settings
	[ -e "$HOME_DIR/$STEM.conf" ] || ! holds_port || die "somebody holds UDP port $PORT; ss -ulnp tells who"
	"look_$LAUNCHER"
}

# File $1 of ours goes to $2: nothing is there, or the same.
vacant() {
	[ ! -e "$2" ] || cmp -s "$1" "$2" || die "$2 is there with other contents; move it away first"
}

# The package brings examples that are switched off. One whose configuration is there is somebody's.
look_xinetd() {
	# shellcheck disable=SC2153 # of the settings
	entry=/etc/xinetd.d/$SERVICE
	[ -e /etc/xinetd.conf ] || command -v xinetd >/dev/null ||
		die "xinetd is missing; install it first, or make the tunnel with another --launcher"
	[ -d /etc/xinetd.d ] || die "/etc/xinetd.d is missing; make it, and say includedir /etc/xinetd.d in xinetd.conf"
	if [ ! -e "$entry" ] || cmp -s "$SERVICE" "$entry"; then return 0; fi
	config=$(sed -n 's/^[^#]*--config[= ]*\([^ ]*\).*/\1/p' "$entry" | tail -n 1)
	if ! grep -q '^[[:space:]]*disable[[:space:]]*=[[:space:]]*yes' "$entry" ||
		{ [ "$config" != "$STEM.conf" ] && [ -e "$HOME_DIR/${config:-.}" ]; }; then
		die "$entry belongs to another service; move it away first"
	fi
}

look_systemd() {
	command -v systemctl >/dev/null || die "systemctl is missing; make the tunnel with another --launcher"
	vacant port.conf "$UNITS/naptun@$STEM.socket.d/port.conf"
}

look_inetd() {
	read -r ours <inetd.conf
	theirs=$(grep "^${ours%% *}[[:space:]].*[[:space:]]udp" /etc/inetd.conf 2>/dev/null | grep -vxF "$ours") || true
	[ -z "$theirs" ] || die "/etc/inetd.conf has another line for ${ours%% *}; remove it first"
}

place() {
	mkdir -p "$HOME_DIR"
	# Keys are in it.
	chmod 700 "$HOME_DIR"
	install -m 644 "$STEM.conf" "$HOME_DIR/$STEM.conf"
	install -m 600 "$TUNNEL.key" "$HOME_DIR/$TUNNEL.key"
	[ ! -e services ] || each_service add_service
}

each_service() {
	while read -r name port; do "$1" "$name" "$port"; done <services
}

known_otherwise() {
	found=$(port_of "$1" "${2#*/}")
	[ -z "$found" ] || [ "$found" = "$2" ] || die "/etc/services says that $1 is $found, not $2; correct that first"
}

add_service() {
	[ -n "$(port_of "$1" "${2#*/}")" ] || printf '%s\t%s\n' "$1" "$2" >>/etc/services
}

# What /etc/services has for the name $1 and the protocol $2, as 1417/udp.
port_of() { sed -n "s|^$1[[:space:]]\{1,\}\([0-9]*/$2\).*|\1|p" /etc/services 2>/dev/null | head -n 1; }

# Now, and at each boot.
forward() {
	"$(script tun-setup)"
	[ -d /etc/sysctl.d ] || return 0
	{
		echo "# Made for a naptun tunnel with networks behind it."
		echo "net.ipv4.ip_forward = 1"
		if [ "$FORWARD_IPV6" = yes ] || grep -q forwarding /etc/sysctl.d/60-naptun.conf 2>/dev/null; then
			echo "net.ipv6.conf.all.forwarding = 1"
		fi
	} >"$HOME_DIR/.sysctl"
	mv "$HOME_DIR/.sysctl" /etc/sysctl.d/60-naptun.conf
}

bridge() {
	[ ! -e bridge.conf ] || install -m 644 bridge.conf "$HOME_DIR/bridge.conf"
	[ -e "$HOME_DIR/tap-server.up" ] || install -m 755 tap-server.up "$HOME_DIR/tap-server.up"
	setup=$(script bridge-setup)
	"$setup" start
	if [ ! -d /run/systemd/system ]; then
		echo "install: at each boot, before the super-server: $setup start"
		return 0
	fi
	[ -e "$UNITS/naptun-bridge.service" ] || cat >"$UNITS/naptun-bridge.service" <<-END
		[Unit]
		Description=The bridge that naptun's tap tunnels join
		After=network.target
		Before=xinetd.service inetd.service
		[Service]
		Type=oneshot
		RemainAfterExit=yes
		ExecStart=$setup start
		ExecStop=$setup stop
		[Install]
		WantedBy=multi-user.target
	END
	systemctl daemon-reload
	systemctl enable naptun-bridge.service
}

# The script $1 of the package; without one, a copy of ours.
script() {
	if [ -x "$SHARED/$1" ]; then
		echo "$SHARED/$1"
	else
		[ -e "$HOME_DIR/$1" ] || install -m 755 "$1" "$HOME_DIR/$1"
		echo "$HOME_DIR/$1"
	fi
}

start_listener() { "wake_$LAUNCHER"; }

wake_xinetd() {
	install -m 644 "$SERVICE" "/etc/xinetd.d/$SERVICE"
	reread xinetd xinetd
}

wake_inetd() {
	read -r ours <inetd.conf
	grep -qxF "$ours" /etc/inetd.conf 2>/dev/null || echo "$ours" >>/etc/inetd.conf
	reread inetd openbsd-inetd inetutils-inetd inetd
}

wake_systemd() {
	unit naptun@.socket
	unit naptun@.service
	mkdir -p "$UNITS/naptun@$STEM.socket.d"
	install -m 644 port.conf "$UNITS/naptun@$STEM.socket.d/port.conf"
	systemctl daemon-reload
	systemctl enable --now "naptun@$STEM.socket"
}

# Has the super-server $1 read its files again, or starts one of the services behind it.
reread() {
	if pid=$(running "$1"); then
		kill -HUP "$pid"
	else
		program=$1
		shift
		start_any "$@" || die "$program does not run; start it"
	fi
	waited=0
	until holds_port; do
		# shellcheck disable=SC2153 # of the settings
		[ "$waited" -lt 100 ] || die "nobody holds UDP port $PORT; syslog may tell why"
		sleep 0.1
		waited=$((waited + 1))
	done
}

# The number of a super-server that runs. One in an old file may belong to somebody else by now.
running() {
	for file in "/run/$1.pid" "/var/run/$1.pid"; do
		pid='' name=''
		[ -r "$file" ] || continue
		read -r pid <"$file" || true
		{ read -r name <"/proc/$pid/comm"; } 2>/dev/null || continue
		case $name in "$1" | busybox) echo "$pid"; return 0 ;; esac
	done
	return 1
}

start_any() {
	for service in "$@"; do
		if [ -d /run/systemd/system ]; then
			systemctl restart "$service" 2>/dev/null && return 0
		elif [ -x "/etc/init.d/$service" ]; then
			"/etc/init.d/$service" restart >/dev/null && return 0
		fi
	done
	return 1
}

holds_port() { grep -q ":$(printf '%04X' "$PORT") " /proc/net/udp /proc/net/udp6 2>/dev/null; }

start_caller() {
	if [ -d /run/systemd/system ]; then
		unit naptun-caller@.service
		systemctl daemon-reload
		systemctl enable --now "naptun-caller@$STEM.service"
		return 0
	fi
	grep -qxF "$STEM.conf" "$HOME_DIR/callers" 2>/dev/null || cat callers >>"$HOME_DIR/callers"
	rc=$(script rc.naptun)
	"$rc" start "$STEM.conf" || die "the caller does not start"
	at_boot "$rc"
}

# The script has the head that these tools read.
at_boot() {
	[ -e /etc/init.d/naptun ] || [ ! -d /etc/init.d ] || install -m 755 "$1" /etc/init.d/naptun
	update-rc.d naptun defaults >/dev/null 2>&1 || chkconfig --add naptun 2>/dev/null ||
		echo "install: at each boot: $1 start"
}

# The unit $1 of the package; without one, ours.
unit() {
	for folder in "$UNITS" /usr/local/lib/systemd/system /usr/lib/systemd/system /lib/systemd/system; do
		[ ! -e "$folder/$1" ] || return 0
	done
	install -m 644 "$1" "$UNITS/$1"
}

# Naptun's check of our configuration, with the flag $1; $2 is what it comes to when that fails.
judge() {
	said=$(/usr/sbin/naptun check ${1:+"$1"} --cd "$HOME_DIR" "$STEM.conf" 2>&1) || {
		echo "$said" >&2
		die "naptun check finds faults, $2; correct them and run this again"
	}
	[ -z "${said%%"$STEM.conf: ok"}" ] || echo "$said"
}

die() {
	echo "install: $1" >&2
	exit 1
}

main
