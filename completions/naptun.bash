# Completion of naptun for bash. What stands between "tables" and "end" is made of the program's own:
# NAPTUN_BLESS=1 cargo test --test completions

_naptun() {
	local current=${COMP_WORDS[COMP_CWORD]} command='' option='' dir='' place=0 kind i
	local options kinds commands values
	for ((i = 1; i < COMP_CWORD; i++)); do
		place=$((place + 1))
		case ${COMP_WORDS[i]} in
		--*) option=${COMP_WORDS[i]#--} place=0 ;;
		*) [[ $i -ne 1 ]] || command=${COMP_WORDS[i]} ;;
		esac
		[[ ${COMP_WORDS[i]} != --cd ]] || dir=${COMP_WORDS[i + 1]-}
	done
	_naptun_tables
	# Behind the values of an option stands what needs none.
	kind=${kinds[place]-}
	if [[ $current == -* ]]; then
		kind=options
	elif [[ -z $kind && -z $command && $COMP_CWORD -eq 1 ]]; then
		kind=first
	elif [[ -z $kind ]]; then
		kind=${values:-options}
	fi
	COMPREPLY=()
	mapfile -t COMPREPLY < <(_naptun_words)
	case $kind in conf | file | dir | first) compopt -o filenames 2>/dev/null ;; esac
}

# Sets commands, and for the command and the option before the cursor: options, kinds (of the option's values, in turn)
# and values (the kind of what stands there without an option).
_naptun_tables() {
	# tables
	commands='check pair status'
	case $command in
	check) options='--cd --files-only --openvpn --help' values='conf' ;;
	pair) options='--address --service --port --launcher --tap --bridge --network --caller-network --caller-address --out --help' values='host' ;;
	status) options='--cd --watch --json --prometheus --help' values='tunnel' ;;
	*) command='' options='--config --cd --inetd --daemon --remote --port --lport --rport --proto --local --nobind --float --secret --dev --dev-type --ifconfig --route --user --group --script-security --up --inactive --keepalive --ping --verb --log --log-append --syslog --writepid --genkey --version --help --remote-random --ifconfig-ipv6 --ifconfig-noexec --resolv-retry --connect-retry --sndbuf --rcvbuf --mark --tun-mtu --mssfix --disable-offload --txqueuelen --lladdr --topology --route-ipv6 --route-gateway --route-ipv6-gateway --route-metric --route-noexec --redirect-gateway --redirect-private --down --up-restart --setenv --setenv-safe --dhcp-option --dns --ignore-unknown-option --nice --mlock --mute --status --reneg-sec --ping-restart --ping-exit --cipher --data-ciphers --ncp-ciphers --replay-persist' ;;
	esac
	case $command:$option in
	:config) kinds=('conf') ;;
	:cd) kinds=('dir') ;;
	:inetd) kinds=('words:wait' 'any') ;;
	:daemon) kinds=('any') ;;
	:remote) kinds=('host' 'service' 'words:udp udp4 udp6') ;;
	:port) kinds=('service') ;;
	:lport) kinds=('service') ;;
	:rport) kinds=('service') ;;
	:proto) kinds=('words:udp udp4 udp6') ;;
	:local) kinds=('host') ;;
	:secret) kinds=('file' 'any') ;;
	:dev) kinds=('device') ;;
	:dev-type) kinds=('words:tun tap') ;;
	:ifconfig) kinds=('any' 'any') ;;
	:route) kinds=('any' 'any' 'words:vpn_gateway net_gateway remote_host' 'any') ;;
	:user) kinds=('user') ;;
	:group) kinds=('group') ;;
	:script-security) kinds=('words:0 1 2 3' 'words:0 1 2 3') ;;
	:up) kinds=('file') ;;
	:inactive) kinds=('any' 'any') ;;
	:keepalive) kinds=('any' 'any') ;;
	:ping) kinds=('any') ;;
	:verb) kinds=('words:0 1 2 3 4 5 6 7 8 9 10 11') ;;
	:log) kinds=('file') ;;
	:log-append) kinds=('file') ;;
	:syslog) kinds=('any') ;;
	:writepid) kinds=('file') ;;
	:genkey) kinds=('words:secret') ;;
	:ifconfig-ipv6) kinds=('any' 'any') ;;
	:resolv-retry) kinds=('words:infinite') ;;
	:connect-retry) kinds=('any' 'any') ;;
	:sndbuf) kinds=('any') ;;
	:rcvbuf) kinds=('any') ;;
	:mark) kinds=('any') ;;
	:tun-mtu) kinds=('any') ;;
	:mssfix) kinds=('any' 'any') ;;
	:txqueuelen) kinds=('any') ;;
	:lladdr) kinds=('any') ;;
	:topology) kinds=('words:p2p net30 subnet') ;;
	:route-ipv6) kinds=('any' 'words:vpn_gateway net_gateway remote_host' 'any') ;;
	:route-gateway) kinds=('host') ;;
	:route-ipv6-gateway) kinds=('any') ;;
	:route-metric) kinds=('any') ;;
	:redirect-gateway) kinds=('words:def1 ipv6 !ipv4 local block-local bypass-dns') ;;
	:redirect-private) kinds=('words:def1 ipv6 !ipv4 local block-local bypass-dns') ;;
	:down) kinds=('file') ;;
	:setenv) kinds=('any' 'any') ;;
	:setenv-safe) kinds=('any' 'any') ;;
	:dhcp-option) kinds=('words:DNS DNS6 DOMAIN DOMAIN-SEARCH' 'any') ;;
	:dns) kinds=('any') ;;
	:ignore-unknown-option) kinds=('any') ;;
	:nice) kinds=('any') ;;
	:mute) kinds=('any') ;;
	:status) kinds=('file' 'any') ;;
	:reneg-sec) kinds=('any' 'any') ;;
	:ping-restart) kinds=('any') ;;
	:ping-exit) kinds=('any') ;;
	:cipher) kinds=('words:AES-256-GCM CHACHA20-POLY1305') ;;
	:data-ciphers) kinds=('words:AES-256-GCM CHACHA20-POLY1305 AES-256-GCM:CHACHA20-POLY1305') ;;
	:ncp-ciphers) kinds=('any') ;;
	:replay-persist) kinds=('file') ;;
	check:cd) kinds=('dir') ;;
	check:openvpn) kinds=('conf') ;;
	pair:address) kinds=('host') ;;
	pair:service) kinds=('service') ;;
	pair:port) kinds=('service') ;;
	pair:launcher) kinds=('words:xinetd systemd inetd') ;;
	pair:bridge) kinds=('any') ;;
	pair:network) kinds=('any') ;;
	pair:caller-network) kinds=('any') ;;
	pair:caller-address) kinds=('host') ;;
	pair:out) kinds=('dir') ;;
	status:cd) kinds=('dir') ;;
	esac
	# end
}

_naptun_words() {
	case $kind in
	options) compgen -W "$options" -- "$current" ;;
	first)
		compgen -W "$commands" -- "$current"
		_naptun_files '*.conf'
		;;
	conf) _naptun_files '*.conf' ;;
	file) _naptun_files '*' ;;
	dir) compgen -d -- "$current" ;;
	service) compgen -W "$(sed -n 's/^\([^# \t]*\)[ \t]*[0-9]*\/udp.*/\1/p' /etc/services)" -- "$current" ;;
	device) compgen -W "tun tap $(cd /sys/class/net && echo tun[0-9]* tap[0-9]*)" -X '*[*]' -- "$current" ;;
	tunnel) (cd "${dir:-/etc/naptun}" && compgen -f -X '!*.conf' -- "$current" | sed 's/\.conf$//') 2>/dev/null ;;
	user) compgen -u -- "$current" ;;
	group) compgen -g -- "$current" ;;
	host) compgen -A hostname -- "$current" ;;
	words:*) compgen -W "${kind#words:}" -- "$current" ;;
	esac
}

# Files that match $1, and the directories on the way to others, as seen from --cd.
_naptun_files() {
	(
		cd "${dir:-.}" 2>/dev/null || exit
		compgen -f -X "!$1" -- "$current"
		[[ $1 == '*' ]] || compgen -d -- "$current"
	)
}

complete -F _naptun naptun
