#compdef naptun
# Completion of naptun for zsh, installed as _naptun. What stands between "tables" and "end" is made of the program's own:
# NAPTUN_BLESS=1 cargo test --test completions

_naptun() {
	local curcontext=$curcontext state line
	local -a options commands
	# tables
	commands=(
		'check:Find everything that is wrong with tunnels'
		'pair:Make both ends of a new tunnel'
		'status:Show what every tunnel does.'
	)
	case $words[2] in
	(check) options=(
		'--cd[where file names start]:value:_directories'
		'--files-only[look at the files alone, not at this host]'
		'*--openvpn[say of each directive of this OpenVPN configuration what]:value:_naptun_conf'
		'--help[display usage information]'
		'*:file:_naptun_conf'
	) ;;
	(pair) options=(
		'--address[outer address or name of the listener]:value:_hosts'
		'--service[service of the port]:value:_naptun_service'
		'--port[port, where it is to have no name]:value:_naptun_service'
		'--launcher[who holds the port]:value:(xinetd systemd inetd)'
		'--tap[carry ethernet frames instead of packets]'
		'--bridge[join the ethernet behind an interface of the listener]:value: '
		'*--network[network behind the listener, as 192.168.1.0/24]:value: '
		'*--caller-network[network behind the caller]:value: '
		'--caller-address[address of the caller in the bridged network]:value:_hosts'
		'--out[folder to make the tunnel'\''s folder in]:value:_directories'
		'--help[display usage information]'
		'*:name:_hosts'
	) ;;
	(status) options=(
		'--cd[the folder of the configurations, /etc/naptun if it is not]:value:_directories'
		'--watch[again every second, until ctrl-C]'
		'--json[one JSON object in one line]'
		'--prometheus[the text format of Prometheus]'
		'--help[display usage information]'
		'*:name:_naptun_tunnel'
	) ;;
	esac
	_naptun_options() {
		options=(
			'*--config[read this configuration file]:value:_naptun_conf'
			'--cd[where file names start]:value:_directories'
			'--inetd[a super-server passes the socket]::value:(wait)::value: '
			'--daemon[go to the background once all is up]::value: '
			'*--remote[the peer]:value:_hosts::value:_naptun_service::value:(udp udp4 udp6)'
			'--port[the UDP port of both ends, number or service name]:value:_naptun_service'
			'--lport[the UDP port of this end]:value:_naptun_service'
			'--rport[the UDP port of the peer]:value:_naptun_service'
			'--proto[udp, udp4 or udp6]:value:(udp udp4 udp6)'
			'--local[the address to bind]:value:_hosts'
			'--nobind[any free local port]'
			'--float[the peer may come from any address]'
			'--secret[the shared key]:value:_naptun_file::value: '
			'--dev[the device]:value:_naptun_device'
			'--dev-type[tun or tap, where the name does not say]:value:(tun tap)'
			'--ifconfig[addresses]:value: ::value: '
			'*--route[a route]:value: ::value: ::value:(vpn_gateway net_gateway remote_host)::value: '
			'--user[the user to become]:value:_users'
			'--group[the group to become]:value:_groups'
			'--script-security[allow scripts with 2]:value:(0 1 2 3)::value:(0 1 2 3)'
			'--up[a command for when the device is up, in quotes]:value:_naptun_file'
			'--inactive[end after so long without traffic]:value: ::value: '
			'--keepalive[ping and time-out in one]:value: ::value: '
			'--ping[send a keepalive after so long in silence]:value: '
			'--verb[how much to log, 0 to 11]:value:(0 1 2 3 4 5 6 7 8 9 10 11)'
			'--log[log to this file, emptied first]:value:_naptun_file'
			'--log-append[log to the end of this file]:value:_naptun_file'
			'--syslog[log to syslog]::value: '
			'--writepid[write the process id there]:value:_naptun_file'
			'--genkey[make a key in the file of --secret, or on standard output]::value:(secret)'
			'--version[show the version]'
			'--help[display usage information]'
			'--remote-random[begin with any of several remotes, not with the first]'
			'--ifconfig-ipv6[the same for IPv6]:value: ::value: '
			'--ifconfig-noexec[leave the addresses to the up script]'
			'--resolv-retry[how long to try to resolve remote]:value:(infinite)'
			'--connect-retry[the longest pause between two attempts to reach the peer]:value: ::value: '
			'--sndbuf[the socket'\''s send buffer, 1048576 by default]:value: '
			'--rcvbuf[the socket'\''s receive buffer, 1048576 by default]:value: '
			'--mark[the firewall mark of every datagram, decimal or 0x...]:value: '
			'--tun-mtu[the MTU of the device, 576 to 9000]:value: '
			'--mssfix[lower the MSS of TCP through the tunnel so that no datagram carries more than so many bytes]::value: ::value: '
			'--disable-offload[move every packet by itself, as on a kernel that knows no bursts]'
			'--txqueuelen[the transmit queue of the device]:value: '
			'--lladdr[the hardware address of a tap]:value: '
			'--topology[p2p and net30 are what tun does, subnet what tap does]:value:(p2p net30 subnet)'
			'*--route-ipv6[the same for IPv6]:value: ::value:(vpn_gateway net_gateway remote_host)::value: '
			'--route-gateway[what vpn_gateway stands for, if not the peer]:value:_hosts'
			'--route-ipv6-gateway[the gateway of route-ipv6 on tap, if not the peer]:value: '
			'--route-metric[the metric of routes that have none]:value: '
			'--route-noexec[leave the routes to the up script]'
			'--redirect-gateway[all traffic through the tunnel]::value:(def1 ipv6 !ipv4 local block-local bypass-dns)'
			'--redirect-private[keep the way to the peer outside in the same manner, and redirect nothing]::value:(def1 ipv6 !ipv4 local block-local bypass-dns)'
			'--down[runs when the device goes]:value:_naptun_file'
			'--up-restart[accepted, without effect]'
			'*--setenv[a variable for the scripts]:value: ::value: '
			'*--setenv-safe[a variable for the scripts, with OPENVPN_ before its name]:value: ::value: '
			'--dhcp-option[DNS 10.8.0.1, DOMAIN example.org and their like]:value:(DNS DNS6 DOMAIN DOMAIN-SEARCH)::value: '
			'--dns[search-domains name ..., or server number and one of address, resolve-domains, dnssec, transport, sni with its values]:value: '
			'*--ignore-unknown-option[these directives, where they follow and are not known, are ignored with a notice]:value: '
			'--nice[the nice value, -20 to 19]:value: '
			'--mlock[keep all memory out of swap, or fail]'
			'--mute[log at most so many lines of one kind in a row]:value: '
			'--status[write counters there every so often]:value:_naptun_file::value: '
			'--reneg-sec[replace the keys at this age]:value: ::value: '
			'--ping-restart[a new handshake after so long without hearing the peer]:value: '
			'--ping-exit[end after so long without hearing the peer]:value: '
			'--cipher[AES-256-GCM or CHACHA20-POLY1305]:value:(AES-256-GCM CHACHA20-POLY1305)'
			'--data-ciphers[a list of the same]:value:(AES-256-GCM CHACHA20-POLY1305 AES-256-GCM\:CHACHA20-POLY1305)'
			'--ncp-ciphers[the older name of data-ciphers]:value: '
			'--replay-persist[where to remember which handshakes have been seen, if not in the default place]:value:_naptun_file'
		)
	}
	# end
	if (( CURRENT > 2 && $#options )); then
		shift words
		(( CURRENT-- ))
		_arguments $options
		return
	fi
	_naptun_options
	_arguments $options '1: :_naptun_first'
}

# The directory of --cd, as far as it is known.
_naptun_dir() {
	local at=${words[(i)--cd]}
	REPLY=${(Q)words[at + 1]-}
	[[ -n $REPLY && $at -lt $CURRENT ]] || REPLY=.
}

_naptun_first() {
	_describe command commands
	_naptun_conf
}

_naptun_conf() {
	local REPLY
	_naptun_dir
	_files -W $REPLY -g '*.conf'
}

_naptun_file() {
	local REPLY
	_naptun_dir
	_files -W $REPLY
}

_naptun_tunnel() {
	local REPLY
	_naptun_dir
	[[ $REPLY != . ]] || REPLY=/etc/naptun
	local -a names=($REPLY/*.conf(N:t:r))
	compadd -a names
}

_naptun_service() {
	local -a names=(${(f)"$(sed -n 's/^\([^# \t]*\)[ \t]*[0-9]*\/udp.*/\1/p' /etc/services)"})
	compadd -a names
}

_naptun_device() {
	local -a names=(tun tap /sys/class/net/(tun|tap)[0-9]*(N:t))
	compadd -a names
}

_naptun "$@"
