#!/bin/sh

# Copyright (C) ngx_smtp_relay_module authors

# A server to try out, for "make run" and "make stop":
#
#     quickstart.sh start     starts a Redis, a next hop, and nginx with
#                             quickstart.conf in build/run; tells how to send
#                             a message; ends all of it with Ctrl-C
#     quickstart.sh stop      ends it from another terminal
#
# Environment: BUILD (the build directory), NGINX, MODULE, and the ports
# PORT_SUBMISSION, PORT_SUBMISSIONS, PORT_LOCAL, PORT_NEXT_HOP, PORT_REDIS.
#
# Processes are known by files with their ids, and are looked at before they
# are ended: each works in a folder of this server.

set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd -P)

BUILD=${BUILD:-$here/../build}
nginx=${NGINX:-/usr/sbin/nginx}
MODULE=${MODULE:-$BUILD/ngx_smtp_relay_module.so}

# nginx takes a variable of this name for sockets it inherits
unset NGINX

submission=${PORT_SUBMISSION:-2587}
submissions=${PORT_SUBMISSIONS:-2465}
local=${PORT_LOCAL:-2525}
next_hop=${PORT_NEXT_HOP:-2526}
redis=${PORT_REDIS:-2637}

mkdir -p "$BUILD/run"

run=$(CDPATH='' cd -- "$BUILD/run" && pwd -P)
login=alice@example.com
sleeper=


die() {
    echo "quickstart: $*" >&2
    exit 1
}


# pid_of name: the id of that process, if it runs and is ours

pid_of() {
    test -s "$run/$1.pid" || return 1

    read -r pid < "$run/$1.pid" || return 1

    case $(readlink "/proc/$pid/cwd" 2>/dev/null) in
    "$run" | "$run"/*) ;;
    *) return 1 ;;
    esac

    # one that has ended and only waits for its parent does not run
    ! grep -q '^State:[[:space:]]*[ZX]' "/proc/$pid/status" 2>/dev/null \
        && echo "$pid"
}


# wait_for seconds command...: until it succeeds

wait_for() {
    n=$(($1 * 10))
    shift

    until "$@"; do
        n=$((n - 1))
        test $n -gt 0 || return 1
        sleep 0.1
    done
}


gone() {
    ! pid_of "$1" > /dev/null
}


# end name signal seconds [signal seconds ...]: signals until it is gone

end() {
    name=$1
    shift

    while test $# -gt 0; do
        pid=$(pid_of "$name") || break
        kill "-$1" "$pid" 2>/dev/null || true
        wait_for "$2" gone "$name" && break
        shift 2
    done

    # nginx leads a process group: no worker outlives its master
    if pid=$(pid_of "$name"); then
        kill -KILL "-$pid" 2>/dev/null || kill -KILL "$pid" 2>/dev/null || true
        wait_for 5 gone "$name" || die "cannot end $name, process $pid"
    fi

    rm -f "$run/$name.pid"
}


end_all() {
    end nginx QUIT 10 TERM 5
    end sink TERM 5
    end redis TERM 5
}


stop() {
    # the one in the foreground ends the others
    if pid_of quickstart > /dev/null; then
        end quickstart TERM 30
    fi

    end_all
}


# the end of "start", however it comes; signals while it runs change nothing

finish() {
    status=$?

    trap '' INT TERM HUP
    trap - EXIT

    echo
    echo "stopping"
    kill "$sleeper" 2>/dev/null || true
    end_all
    rm -f "$run/quickstart.pid"

    exit "$status"
}


free_port() {
    perl -MIO::Socket::INET -e 'exit !IO::Socket::INET->new(Listen => 1,
        LocalAddr => "127.0.0.1", LocalPort => $ARGV[0], ReuseAddr => 1)' \
        "$1"
}


redis_cli() {
    redis-cli -h 127.0.0.1 -p "$redis" "$@"
}


redis_up() {
    test "$(redis_cli ping 2>/dev/null)" = PONG
}


listens() {
    perl -MIO::Socket::INET -e 'exit !IO::Socket::INET->new(
        PeerAddr => "127.0.0.1", PeerPort => $ARGV[0])' "$1"
}


# A certificate of our own, for localhost; kept from one start to the next.

make_cert() {
    if test -s "$run/cert.pem" \
        && openssl x509 -in "$run/cert.pem" -noout -checkend 86400 \
            > /dev/null 2>&1
    then
        return
    fi

    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 \
        -nodes -days 365 -subj /CN=localhost \
        -addext 'subjectAltName=DNS:localhost,IP:127.0.0.1' \
        -keyout "$run/key.pem" -out "$run/cert.pem" \
        2> "$run/logs/openssl.log" \
        || { cat "$run/logs/openssl.log" >&2; die 'no certificate'; }

    chmod 600 "$run/key.pem"
}


start_redis() {
    mkdir -p "$run/redis"

    redis-server --bind 127.0.0.1 --port "$redis" --dir "$run/redis" \
        --daemonize yes --pidfile "$run/redis.pid" \
        --logfile "$run/logs/redis.log" --save '' --appendonly no \
        > /dev/null

    wait_for 10 redis_up || die "Redis did not start, see $run/logs/redis.log"

    # the password goes by way of pipes: others could see arguments
    printf %s "$password" | openssl passwd -6 -stdin | tr -d '\n' \
        | redis_cli -x HSET "smtp:account:$login" \
            senders "$login" password > /dev/null \
        || die 'cannot create the account'
}


start_next_hop() {
    mkdir -p "$run/delivered"

    # without the terminal: its Ctrl-C is for this script alone
    (
        cd "$run/delivered"
        exec setsid perl "$here/quickstart-sink.pl" "$next_hop" \
            "$run/delivered" < /dev/null
    ) &
    echo $! > "$run/sink.pid"

    wait_for 10 listens "$next_hop" || die 'the next hop did not start'
}


# quickstart.conf, with what is different here

configure() {
    mkdir -p "$run/modules"
    ln -sf "$MODULE" "$run/modules/ngx_smtp_relay_module.so"

    version=$("$nginx" -V 2>&1)
    modules=$(echo "$version" | sed -n 's/.*--modules-path=\([^ ]*\).*/\1/p')
    stream=

    case $version in
    *--with-stream=dynamic*)
        ln -sf "${modules:-/usr/lib/nginx/modules}/ngx_stream_module.so" \
            "$run/modules/ngx_stream_module.so"
        ;;
    *)
        # it is part of nginx
        stream='/ngx_stream_module\.so/d'
        ;;
    esac

    user=

    if test "$(id -u)" != 0; then
        user='/^user /d'

    elif ! setpriv --reuid www-data --regid www-data --clear-groups \
        test -x "$run"
    then
        echo "workers run as root: www-data may not enter $run"
        user='s/^user .*/user root;/'
    fi

    sed -e "$stream" -e "$user" \
        -e "s/:2587;/:$submission;/; s/:2465 /:$submissions /" \
        -e "s/:2525;/:$local;/; s/:2526;/:$next_hop;/" \
        -e "s/:2637;/:$redis;/" \
        "$here/quickstart.conf" > "$run/nginx.conf"
}


start_nginx() {
    configure

    (
        cd "$run"
        exec "$nginx" -p "$run" -c "$run/nginx.conf" -e "$run/logs/error.log"
    ) || die "nginx did not start, see $run/logs/error.log"

    wait_for 10 test -s "$run/nginx.pid" || die 'nginx did not start'
}


# RFC 5322 wants CRLF, and curl sends the file as it is

write_mail() {
    printf '%s\r\n' "From: Alice <$login>" 'To: Bob <bob@example.net>' \
        'Subject: the first message' '' 'It works.' > "$run/mail.txt"
}


tell() {
    cat <<END

nginx takes mail on 127.0.0.1:

    $submission    submission: login, after STARTTLS
    $submissions    the same, TLS from the start
    $local    for programs on this machine, without login

Send a message:

    curl --ssl-reqd --url 'smtp://127.0.0.1:$submission/laptop.example.com' \\
        --cacert '$run/cert.pem' \\
        --user '$login:$password' \\
        --mail-from '$login' --mail-rcpt bob@example.net \\
        --upload-file '$run/mail.txt'

or, with swaks:

    swaks --server 127.0.0.1:$submission --tls --auth PLAIN \\
        --auth-user '$login' --auth-password '$password' \\
        --from '$login' --to bob@example.net

It is delivered to '$run/delivered', and told here.
Mail to nobody@example.net bounces, mail to later@example.net is tried again.

    logs            $run/logs/smtp.log
                    $run/logs/error.log
    configuration   $run/nginx.conf
    accounts        redis-cli -p $redis HGETALL smtp:account:$login

Ctrl-C, or "make stop" in another terminal, ends it.

END
}


start() {
    for program in "$nginx" redis-server redis-cli openssl perl setsid; do
        command -v "$program" > /dev/null \
            || die "$program is missing: \"make deps\" installs it"
    done

    test -f "$MODULE" || die "there is no $MODULE: \"make\" builds it"

    for name in quickstart nginx redis sink; do
        gone $name || die "$name is already running: \"make stop\" ends it"
    done

    for port in $submission $submissions $local $next_hop $redis; do
        free_port "$port" || die "port $port of 127.0.0.1 is in use"
    done

    cd "$run"
    mkdir -p logs
    rm -f nginx.pid redis.pid sink.pid

    echo $$ > quickstart.pid

    trap finish EXIT
    trap 'exit 0' INT TERM HUP

    password=$(openssl rand -hex 8)

    make_cert
    write_mail
    start_redis
    start_next_hop
    start_nginx
    tell

    # a signal ends the wait at once
    while ! gone nginx; do
        sleep 1 &
        sleeper=$!
        wait $sleeper || true
    done

    echo 'nginx has ended'
}


case ${1:-} in
start) start ;;
stop) stop ;;
*) die 'usage: quickstart.sh start | stop' ;;
esac
