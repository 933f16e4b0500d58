# Completion of naptun for fish. What stands between "tables" and "end" is made of the program's own:
# NAPTUN_BLESS=1 cargo test --test completions

# Whether the command is one of these.
function __naptun_in
    set -l words (commandline -opc)
    set -q words[2]; and contains -- $words[2] $argv
end

# Whether value number $argv[2] of option --$argv[1] stands at the cursor.
function __naptun_value -a option number
    set -l words (commandline -opc)
    set -l at (math (count $words) - $number + 1)
    test $at -gt 1; and test "$words[$at]" = --$option
    and not string match -q -- '--*' $words[(math $at + 1)..-1]
end

# Whether nothing stands before the cursor yet.
function __naptun_first
    test (count (commandline -opc)) -eq 1
end

# The directory of --cd, as far as it is known.
function __naptun_dir
    set -l words (commandline -opc)
    set -l at (contains -i -- --cd $words)
    and set -q words[(math $at + 1)]
    and echo $words[(math $at + 1)]
end

# Files that end with $argv[1], and directories, as seen from --cd.
function __naptun_files -a suffix
    set -l token (commandline -ct)
    set -l dir (__naptun_dir)
    if string match -q '/*' -- $token
        set dir
    else if test -n "$dir"
        set dir (string trim -r -c / -- $dir)/
    end
    for file in $dir$token*
        if test -d $file
            echo (string sub -s (math (string length -- "$dir") + 1) -- $file)/
        else if string match -q -- "*$suffix" $file
            string sub -s (math (string length -- "$dir") + 1) -- $file
        end
    end
end

function __naptun_tunnels
    set -l dir (__naptun_dir)
    test -n "$dir"; or set dir /etc/naptun
    for file in $dir/*.conf
        string replace -r '.*/(.*)\.conf$' '$1' -- $file
    end
end

function __naptun_services
    string replace -rf '^([^#\s]+)\s+\d+/udp.*' '$1' </etc/services
end

function __naptun_devices
    printf '%s\n' tun tap
    for device in /sys/class/net/tun* /sys/class/net/tap*
        string replace -r '.*/' '' -- $device
    end
end

complete -c naptun -f
# tables
complete -c naptun -n __naptun_first -a check -d 'Find everything that is wrong with tunnels'
complete -c naptun -n __naptun_first -a pair -d 'Make both ends of a new tunnel'
complete -c naptun -n __naptun_first -a status -d 'Show what every tunnel does.'
complete -c naptun -n __naptun_first -a '(__naptun_files .conf)'
complete -c naptun -n 'not __naptun_in check pair status' -l config -x -a '(__naptun_files .conf)' -d 'read this configuration file'
complete -c naptun -n 'not __naptun_in check pair status' -l cd -x -a '(__fish_complete_directories)' -d 'where file names start'
complete -c naptun -n 'not __naptun_in check pair status' -l inetd -d 'a super-server passes the socket'
complete -c naptun -n '__naptun_value inetd 1' -a 'wait'
complete -c naptun -n 'not __naptun_in check pair status' -l daemon -d 'go to the background once all is up'
complete -c naptun -n 'not __naptun_in check pair status' -l remote -x -a '(__fish_print_hostnames)' -d 'the peer'
complete -c naptun -n '__naptun_value remote 2' -a '(__naptun_services)'
complete -c naptun -n '__naptun_value remote 3' -a 'udp udp4 udp6'
complete -c naptun -n 'not __naptun_in check pair status' -l port -x -a '(__naptun_services)' -d 'the UDP port of both ends, number or service name'
complete -c naptun -n 'not __naptun_in check pair status' -l lport -x -a '(__naptun_services)' -d 'the UDP port of this end'
complete -c naptun -n 'not __naptun_in check pair status' -l rport -x -a '(__naptun_services)' -d 'the UDP port of the peer'
complete -c naptun -n 'not __naptun_in check pair status' -l proto -x -a 'udp udp4 udp6' -d 'udp, udp4 or udp6'
complete -c naptun -n 'not __naptun_in check pair status' -l local -x -a '(__fish_print_hostnames)' -d 'the address to bind'
complete -c naptun -n 'not __naptun_in check pair status' -l nobind -d 'any free local port'
complete -c naptun -n 'not __naptun_in check pair status' -l float -d 'the peer may come from any address'
complete -c naptun -n 'not __naptun_in check pair status' -l secret -x -a '(__naptun_files)' -d 'the shared key'
complete -c naptun -n 'not __naptun_in check pair status' -l dev -x -a '(__naptun_devices)' -d 'the device'
complete -c naptun -n 'not __naptun_in check pair status' -l dev-type -x -a 'tun tap' -d 'tun or tap, where the name does not say'
complete -c naptun -n 'not __naptun_in check pair status' -l ifconfig -x -d 'addresses'
complete -c naptun -n 'not __naptun_in check pair status' -l route -x -d 'a route'
complete -c naptun -n '__naptun_value route 3' -a 'vpn_gateway net_gateway remote_host'
complete -c naptun -n 'not __naptun_in check pair status' -l user -x -a '(__fish_complete_users)' -d 'the user to become'
complete -c naptun -n 'not __naptun_in check pair status' -l group -x -a '(__fish_complete_groups)' -d 'the group to become'
complete -c naptun -n 'not __naptun_in check pair status' -l script-security -x -a '0 1 2 3' -d 'allow scripts with 2'
complete -c naptun -n '__naptun_value script-security 2' -a '0 1 2 3'
complete -c naptun -n 'not __naptun_in check pair status' -l up -x -a '(__naptun_files)' -d 'a command for when the device is up, in quotes'
complete -c naptun -n 'not __naptun_in check pair status' -l inactive -x -d 'end after so long without traffic'
complete -c naptun -n 'not __naptun_in check pair status' -l keepalive -x -d 'ping and time-out in one'
complete -c naptun -n 'not __naptun_in check pair status' -l ping -x -d 'send a keepalive after so long in silence'
complete -c naptun -n 'not __naptun_in check pair status' -l verb -x -a '0 1 2 3 4 5 6 7 8 9 10 11' -d 'how much to log, 0 to 11'
complete -c naptun -n 'not __naptun_in check pair status' -l log -x -a '(__naptun_files)' -d 'log to this file, emptied first'
complete -c naptun -n 'not __naptun_in check pair status' -l log-append -x -a '(__naptun_files)' -d 'log to the end of this file'
complete -c naptun -n 'not __naptun_in check pair status' -l syslog -d 'log to syslog'
complete -c naptun -n 'not __naptun_in check pair status' -l writepid -x -a '(__naptun_files)' -d 'write the process id there'
complete -c naptun -n 'not __naptun_in check pair status' -l genkey -d 'make a key in the file of --secret, or on standard output'
complete -c naptun -n '__naptun_value genkey 1' -a 'secret'
complete -c naptun -n 'not __naptun_in check pair status' -l version -d 'show the version'
complete -c naptun -n 'not __naptun_in check pair status' -l help -d 'display usage information'
complete -c naptun -n 'not __naptun_in check pair status' -l remote-random -d 'begin with any of several remotes, not with the first'
complete -c naptun -n 'not __naptun_in check pair status' -l ifconfig-ipv6 -x -d 'the same for IPv6'
complete -c naptun -n 'not __naptun_in check pair status' -l ifconfig-noexec -d 'leave the addresses to the up script'
complete -c naptun -n 'not __naptun_in check pair status' -l resolv-retry -x -a 'infinite' -d 'how long to try to resolve remote'
complete -c naptun -n 'not __naptun_in check pair status' -l connect-retry -x -d 'the longest pause between two attempts to reach the peer'
complete -c naptun -n 'not __naptun_in check pair status' -l sndbuf -x -d 'the socket\'s send buffer, 1048576 by default'
complete -c naptun -n 'not __naptun_in check pair status' -l rcvbuf -x -d 'the socket\'s receive buffer, 1048576 by default'
complete -c naptun -n 'not __naptun_in check pair status' -l mark -x -d 'the firewall mark of every datagram, decimal or 0x...'
complete -c naptun -n 'not __naptun_in check pair status' -l tun-mtu -x -d 'the MTU of the device, 576 to 9000'
complete -c naptun -n 'not __naptun_in check pair status' -l mssfix -d 'lower the MSS of TCP through the tunnel so that no datagram carries more than so many bytes'
complete -c naptun -n 'not __naptun_in check pair status' -l disable-offload -d 'move every packet by itself, as on a kernel that knows no bursts'
complete -c naptun -n 'not __naptun_in check pair status' -l txqueuelen -x -d 'the transmit queue of the device'
complete -c naptun -n 'not __naptun_in check pair status' -l lladdr -x -d 'the hardware address of a tap'
complete -c naptun -n 'not __naptun_in check pair status' -l topology -x -a 'p2p net30 subnet' -d 'p2p and net30 are what tun does, subnet what tap does'
complete -c naptun -n 'not __naptun_in check pair status' -l route-ipv6 -x -d 'the same for IPv6'
complete -c naptun -n '__naptun_value route-ipv6 2' -a 'vpn_gateway net_gateway remote_host'
complete -c naptun -n 'not __naptun_in check pair status' -l route-gateway -x -a '(__fish_print_hostnames)' -d 'what vpn_gateway stands for, if not the peer'
complete -c naptun -n 'not __naptun_in check pair status' -l route-ipv6-gateway -x -d 'the gateway of route-ipv6 on tap, if not the peer'
complete -c naptun -n 'not __naptun_in check pair status' -l route-metric -x -d 'the metric of routes that have none'
complete -c naptun -n 'not __naptun_in check pair status' -l route-noexec -d 'leave the routes to the up script'
complete -c naptun -n 'not __naptun_in check pair status' -l redirect-gateway -d 'all traffic through the tunnel'
complete -c naptun -n '__naptun_value redirect-gateway 1' -a 'def1 ipv6 !ipv4 local block-local bypass-dns'
complete -c naptun -n 'not __naptun_in check pair status' -l redirect-private -d 'keep the way to the peer outside in the same manner, and redirect nothing'
complete -c naptun -n '__naptun_value redirect-private 1' -a 'def1 ipv6 !ipv4 local block-local bypass-dns'
complete -c naptun -n 'not __naptun_in check pair status' -l down -x -a '(__naptun_files)' -d 'runs when the device goes'
complete -c naptun -n 'not __naptun_in check pair status' -l up-restart -d 'accepted, without effect'
complete -c naptun -n 'not __naptun_in check pair status' -l setenv -x -d 'a variable for the scripts'
complete -c naptun -n 'not __naptun_in check pair status' -l setenv-safe -x -d 'a variable for the scripts, with OPENVPN_ before its name'
complete -c naptun -n 'not __naptun_in check pair status' -l dhcp-option -x -a 'DNS DNS6 DOMAIN DOMAIN-SEARCH' -d 'DNS 10.8.0.1, DOMAIN example.org and their like'
complete -c naptun -n 'not __naptun_in check pair status' -l dns -x -d 'search-domains name ..., or server number and one of address, resolve-domains, dnssec, transport, sni with its values'
complete -c naptun -n 'not __naptun_in check pair status' -l ignore-unknown-option -x -d 'these directives, where they follow and are not known, are ignored with a notice'
complete -c naptun -n 'not __naptun_in check pair status' -l nice -x -d 'the nice value, -20 to 19'
complete -c naptun -n 'not __naptun_in check pair status' -l mlock -d 'keep all memory out of swap, or fail'
complete -c naptun -n 'not __naptun_in check pair status' -l mute -x -d 'log at most so many lines of one kind in a row'
complete -c naptun -n 'not __naptun_in check pair status' -l status -x -a '(__naptun_files)' -d 'write counters there every so often'
complete -c naptun -n 'not __naptun_in check pair status' -l reneg-sec -x -d 'replace the keys at this age'
complete -c naptun -n 'not __naptun_in check pair status' -l ping-restart -x -d 'a new handshake after so long without hearing the peer'
complete -c naptun -n 'not __naptun_in check pair status' -l ping-exit -x -d 'end after so long without hearing the peer'
complete -c naptun -n 'not __naptun_in check pair status' -l cipher -x -a 'AES-256-GCM CHACHA20-POLY1305' -d 'AES-256-GCM or CHACHA20-POLY1305'
complete -c naptun -n 'not __naptun_in check pair status' -l data-ciphers -x -a 'AES-256-GCM CHACHA20-POLY1305 AES-256-GCM:CHACHA20-POLY1305' -d 'a list of the same'
complete -c naptun -n 'not __naptun_in check pair status' -l ncp-ciphers -x -d 'the older name of data-ciphers'
complete -c naptun -n 'not __naptun_in check pair status' -l replay-persist -x -a '(__naptun_files)' -d 'where to remember which handshakes have been seen, if not in the default place'
complete -c naptun -n '__naptun_in check' -l cd -x -a '(__fish_complete_directories)' -d 'where file names start'
complete -c naptun -n '__naptun_in check' -l files-only -d 'look at the files alone, not at this host'
complete -c naptun -n '__naptun_in check' -l openvpn -x -a '(__naptun_files .conf)' -d 'say of each directive of this OpenVPN configuration what'
complete -c naptun -n '__naptun_in check' -l help -d 'display usage information'
complete -c naptun -n '__naptun_in check' -a '(__naptun_files .conf)'
complete -c naptun -n '__naptun_in pair' -l address -x -a '(__fish_print_hostnames)' -d 'outer address or name of the listener'
complete -c naptun -n '__naptun_in pair' -l service -x -a '(__naptun_services)' -d 'service of the port'
complete -c naptun -n '__naptun_in pair' -l port -x -a '(__naptun_services)' -d 'port, where it is to have no name'
complete -c naptun -n '__naptun_in pair' -l launcher -x -a 'xinetd systemd inetd' -d 'who holds the port'
complete -c naptun -n '__naptun_in pair' -l tap -d 'carry ethernet frames instead of packets'
complete -c naptun -n '__naptun_in pair' -l bridge -x -d 'join the ethernet behind an interface of the listener'
complete -c naptun -n '__naptun_in pair' -l network -x -d 'network behind the listener, as 192.168.1.0/24'
complete -c naptun -n '__naptun_in pair' -l caller-network -x -d 'network behind the caller'
complete -c naptun -n '__naptun_in pair' -l caller-address -x -a '(__fish_print_hostnames)' -d 'address of the caller in the bridged network'
complete -c naptun -n '__naptun_in pair' -l out -x -a '(__fish_complete_directories)' -d 'folder to make the tunnel\'s folder in'
complete -c naptun -n '__naptun_in pair' -l help -d 'display usage information'
complete -c naptun -n '__naptun_in pair' -a '(__fish_print_hostnames)'
complete -c naptun -n '__naptun_in status' -l cd -x -a '(__fish_complete_directories)' -d 'the folder of the configurations, /etc/naptun if it is not'
complete -c naptun -n '__naptun_in status' -l watch -d 'again every second, until ctrl-C'
complete -c naptun -n '__naptun_in status' -l json -d 'one JSON object in one line'
complete -c naptun -n '__naptun_in status' -l prometheus -d 'the text format of Prometheus'
complete -c naptun -n '__naptun_in status' -l help -d 'display usage information'
complete -c naptun -n '__naptun_in status' -a '(__naptun_tunnels)'
# end
