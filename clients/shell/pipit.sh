#!/bin/sh
# A client of Pipit for any shell, with curl, jq and base64. Copy it: docs/clients.md tells what it does.
usage="
    sh pipit.sh publish TOPIC [MIME_TYPE] < PAYLOAD    prints the message's ID
    sh pipit.sh consume TOPIC [COMMAND ...]            runs the command for each message, the payload as its input"

lease=${PIPIT_LEASE:-30}         # seconds, at most the consumer's ack_timeout
patience=${PIPIT_PATIENCE:-240}  # after so many seconds a call is given up
base=${PIPIT_SERVER:-http://127.0.0.1:11223}/zato/pubsub
stopped=                         # set by a signal while it consumes
poll=                            # the process that a signal ends: what waits for messages

# begin makes a folder of temporary files, among them the credentials, which no list of processes shows.
begin() {
    : "${PIPIT_USER:?is not set}" "${PIPIT_PASSWORD:?is not set}"
    dir=$(mktemp -d) || exit
    trap 'kill $keeper 2>/dev/null; rm -rf "$dir"' EXIT
    trap 'exit 1' TERM INT
    at=$dir/call keeper=
    jq -nr 'env | "user = \("\(.PIPIT_USER):\(.PIPIT_PASSWORD)" | @json)", "header = \("X-Zato-PubSub-Key: \(.PIPIT_SUB_KEY // "")" | @json)"' >"$dir/curl"
}

# await PID [RECEIVING] waits until the process has ended, whatever signal comes; one that receives is ended by it.
await() {
    poll=${2:+$1}
    [ -z "$poll" ] || [ -z "$stopped" ] || kill "$poll" 2>/dev/null
    while wait "$1"; code=$?; kill -0 "$1" 2>/dev/null; do :; done
    poll=
    return "$code"
}

# call PATIENCE PATH BODY [RECEIVING] posts a file until it is answered, into the file $at.answer, or given up. A signal ends what receives.
call() {
    pause=1 end=$(($(date +%s) + $1))
    until [ "$4" ] && [ "$stopped" ]; do
        rm -f "$at.head" "$at.answer"
        curl -gsS -K "$dir/curl" --max-time 90 -D "$at.head" -o "$at.answer" -w '%{http_code}' --data-binary "@$3" "$base/$2" >"$at.status" &
        await $! "$4" && status=$(cat "$at.status") || status=000 # no connection, or half an answer
        [ "$status" != 200 ] || return 0
        ! [ "$4" ] || [ -z "$stopped" ] || break
        after=$(sed -n 's/^[Rr]etry-[Aa]fter: *\([0-9][0-9]*\).*/\1/p' "$at.head" 2>/dev/null)
        [ "${after:-0}" -gt "$pause" ] || after=$pause
        why="$status: $(cat "$at.answer" 2>/dev/null)"
        case $status in
        000 | 429 | 5??) [ "$4" ] || [ $(($(date +%s) + after)) -le "$end" ] ;;
        *) false ;;
        esac || {
            echo "$why" >&2
            return 1
        }
        echo "again in $after s: $why" >&2
        sleep "$after" >/dev/null 2>&1 &
        await $! "$4"
        pause=$((pause < 15 ? 2 * pause : 30))
    done
    echo '{"results": []}' >"$at.answer"
}

# settle PATIENCE FILTER posts what the filter of jq makes of the messages in hand.
settle() {
    jq "$2" "$dir/batch" >"$at.body" && call "$1" ack/ "$at.body"
}

# keep extends the leases of what is not settled, until it is killed or the client has ended.
keep() {
    at=$dir/keep
    trap 'kill $! 2>/dev/null; exit' TERM
    trap '' INT
    while kill -0 $$ 2>/dev/null; do
        sleep $((lease / 3)) &
        wait $!
        settle 0 "[.results[$(cat "$dir/settled"):][].metadata.msg_id | {(.): $lease}] | {extend: add}" # where it fails, the next time is early enough
    done
}

# publish TOPIC [MIME_TYPE] publishes its input.
publish() {
    id=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
    cat >"$dir/payload"
    call "$patience" "topic/$1/?msg_id=$id&mime_type=$2" "$dir/payload" && jq -er .msg_id "$at.answer"
}

# consume TOPIC COMMAND... runs the command for each message, until a signal: exit code 0 acknowledges it, another one has it come again.
consume() {
    path="msg/$1/?max=10&wait=60"
    shift
    : >"$dir/nothing"
    trap 'stopped=1; [ -z "$poll" ] || kill "$poll" 2>/dev/null' TERM INT
    while [ -z "$stopped" ]; do
        call 0 "$path" "$dir/nothing" receiving || return
        mv "$at.answer" "$dir/batch"
        count=$(jq '.results | length' "$dir/batch") && n=0 || return
        [ "$count" -gt 0 ] || continue
        echo 0 >"$dir/settled"
        keep &
        keeper=$!
        while [ "$n" -lt "$count" ] && [ -z "$stopped" ]; do
            message=".results[$n]"
            jq -r "$message | if .metadata.encoding then .payload else .payload | @base64 end" "$dir/batch" | base64 -d >"$dir/payload"
            PIPIT_MSG_ID=$(jq -r "$message.metadata.msg_id" "$dir/batch")
            export PIPIT_MSG_ID
            if "$@" <"$dir/payload"; then
                settle "$patience" "{ack: [$message.metadata.msg_id]}"
            else
                echo "$PIPIT_MSG_ID: failed" >&2
                settle "$patience" "$message.metadata | {reject: [.msg_id], delay: ([pow(2; .delivery_count - 1), 30] | min)}"
            fi || return
            n=$((n + 1))
            echo "$n" >"$dir/settled"
        done
        kill "$keeper" 2>/dev/null
        await "$keeper"
        keeper=
        [ "$n" -eq "$count" ] || settle "$patience" "{reject: [.results[$n:][].metadata.msg_id]}" || return
    done
}

show() {
    cat
    echo
}

encoded() { jq -rn --arg text "$1" '$text | @uri'; }

action=$1 topic=$2
case $action,$topic in
publish,?*)
    begin
    publish "$(encoded "$topic")" "$(encoded "${3:-application/octet-stream}")"
    ;;
consume,?*)
    begin
    shift 2
    [ $# -gt 0 ] || set -- show
    consume "$(encoded "$topic")" "$@"
    ;;
*)
    echo "$usage" >&2
    exit 1
    ;;
esac
