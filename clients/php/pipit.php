<?php
// A client of Pipit for the command line of PHP 8.0 or later, by its streams; consume needs pcntl and posix. Copy it: docs/clients.md tells what it does.
namespace Pipit;
const USAGE = "
    php pipit.php publish TOPIC [MIME_TYPE] < PAYLOAD    prints the message's ID
    php pipit.php consume TOPIC [COMMAND ...]            runs the command for each message, the payload as its input";

/** What the server refuses, or what was given up: the message tells which. */
class Failed extends \RuntimeException {}

class Client {
    private bool $stopped = false;

    /** $lease: seconds, at most the consumer's ack_timeout; $patience: after so many seconds a call is given up. */
    public function __construct(private string $server, private string $user, private string $password, private string $subKey = '',
        private int $lease = 30, private float $patience = 240) {}

    /** Publishes, and returns the ID of the message. Repeated with an ID of the caller's it is stored once. */
    public function publish(string $topic, string $payload, string $mimeType = 'application/octet-stream', ?string $id = null): string {
        $query = http_build_query(['msg_id' => $id ?? bin2hex(random_bytes(16)), 'mime_type' => $mimeType]);
        return $this->call('topic/' . rawurlencode($topic) . "/?$query", $payload)['msg_id'];
    }

    /** Calls $handle($payload, $metadata) for each message until stop: what it throws has the message come again. */
    public function consume(string $topic, callable $handle): void {
        while (!$this->stopped) {
            $left = $this->call('msg/' . rawurlencode($topic) . '/?max=10&wait=60', '', INF, true)['results'];
            for ($begun = microtime(true); $left && !$this->stopped; array_shift($left)) {
                $keeper = $this->keep(self::ids($left), $begun);
                try {
                    $this->settle(self::handled($handle, $left[0]));
                } finally {
                    posix_kill($keeper, SIGKILL);
                    pcntl_waitpid($keeper, $status);
                }
            }
            $left && $this->settle(['reject' => self::ids($left)]);
        }
    }

    /** Ends consume after the message in hand; the others are given back. It can handle a signal. */
    public function stop(): void { $this->stopped = true; }

    private static function ids(array $messages): array { return array_column(array_column($messages, 'metadata'), 'msg_id'); }

    private static function handled(callable $handle, array $message): array {
        ['payload' => $payload, 'metadata' => $meta] = $message;
        try {
            $handle(isset($meta['encoding']) ? base64_decode($payload) : $payload, $meta);
            return ['ack' => [$meta['msg_id']]];
        } catch (\Throwable $e) {
            fwrite(STDERR, "{$meta['msg_id']}: {$e->getMessage()}\n");
            return ['reject' => [$meta['msg_id']], 'delay' => min(2 ** min($meta['delivery_count'] - 1, 5), 30)];
        }
    }

    /** Starts a process that extends the leases at each third of a lease since $begun, until it is killed or its parent has ended. */
    private function keep(array $ids, float $begun): int {
        [$parent, $every] = [getmypid(), $this->lease / 3];
        if (($pid = pcntl_fork()) !== 0) {
            return $pid > 0 ? $pid : throw new \RuntimeException('no process: ' . pcntl_strerror(pcntl_get_last_error()));
        }
        array_map(fn ($signal) => pcntl_signal($signal, SIG_IGN), [SIGTERM, SIGINT]);
        for (;;) {
            usleep((int) (1e6 * ($every - fmod(microtime(true) - $begun, $every))));
            posix_getppid() === $parent || posix_kill(getmypid(), SIGKILL); // exit would close what is the parent's
            try {
                $this->settle(['extend' => array_fill_keys($ids, $this->lease)], 0);
            } catch (Failed $e) {
                fwrite(STDERR, "extend: {$e->getMessage()}\n"); // the next time is early enough
            }
        }
    }

    private function settle(array $what, ?float $patience = null): void { $this->call('ack/', json_encode($what, JSON_THROW_ON_ERROR), $patience); }

    /** Posts until it is answered, and returns the answer; none where stop ends a receive. */
    private function call(string $path, string $body, ?float $patience = null, bool $receiving = false): array {
        $end = microtime(true) + ($patience ?? $this->patience);
        for ($wait = 1; !($receiving && $this->stopped); $wait = min(2 * $wait, 30)) {
            [$status, $after, $text] = $this->post($path, $body, $receiving);
            if ($status === 200 && is_array($answer = json_decode($text, true))) {
                return $answer;
            }
            $again = microtime(true) + max($wait * random_int(500, 1000) / 1000, $after);
            if ($again > $end || $status > 200 && $status < 500 && $status !== 429) {
                throw new Failed("$status: $text");
            }
            $receiving && $this->stopped || fprintf(STDERR, "again in %.1f s: %d: %s\n", $again - microtime(true), $status, $text);
            while (microtime(true) < $again && !($receiving && $this->stopped)) {
                usleep(50_000);
            }
        }
        return ['results' => []];
    }

    /** Posts once: status, Retry-After and body of the answer; status 0 where there is none, or half of one. stop ends a receive. */
    private function post(string $path, string $body, bool $receiving): array {
        $url = parse_url($this->server) + ['path' => ''];
        [$transport, $port] = $url['scheme'] === 'https' ? ['tls', 443] : ['tcp', 80];
        $at = $url['host'] . ':' . ($url['port'] ?? $port);
        if (!$stream = @stream_socket_client("$transport://$at", $code, $why, 30)) return [0, 0, "$at: $why"];
        // HTTP/1.0 has neither chunks nor anything behind the answer.
        $request = 'POST ' . rtrim($url['path'], '/') . "/zato/pubsub/$path HTTP/1.0\r\nHost: $at\r\nX-Zato-PubSub-Key: $this->subKey\r\nAuthorization: Basic "
            . base64_encode("$this->user:$this->password") . "\r\nContent-Type: application/octet-stream\r\nContent-Length: " . strlen($body) . "\r\n\r\n$body";
        for (; $request !== '' && $n = @fwrite($stream, $request); $request = substr($request, $n));
        stream_set_blocking($stream, false);
        for ($reply = '', $end = microtime(true) + 90; !feof($stream) && microtime(true) < $end && ($reply !== '' || !($receiving && $this->stopped));) {
            [$read, $none] = [[$stream], null];
            @stream_select($read, $none, $none, 1) && $reply .= @fread($stream, 65536);
        }
        [$head, $text] = explode("\r\n\r\n", $reply, 2) + ['', ''];
        if (!preg_match('~^HTTP/1\.. (\d{3})~', $head, $status) || preg_match('~^Content-Length: *(\d+)~mi', $head, $length) && strlen($text) < $length[1]) {
            return [0, 0, 'no answer, or half of one'];
        }
        return [(int) $status[1], preg_match('~^Retry-After: *(\d+)~mi', $head, $after) ? (int) $after[1] : 0, $text];
    }
}

function run(array $command, string $payload, array $meta): void {
    $process = proc_open($command, [['pipe', 'r'], STDOUT, STDERR], $pipes, null, ['PIPIT_MSG_ID' => $meta['msg_id']] + getenv());
    @fwrite($pipes[0], $payload); // it need not read all of it
    fclose($pipes[0]);
    ($code = proc_close($process)) && throw new \RuntimeException("$command[0] ended with $code");
}

function main(string $action = '', string $topic = '', string ...$rest): void {
    in_array($action, ['publish', 'consume'], true) && $topic !== '' || throw new Failed(USAGE);
    $env = fn ($name, $default = null) => ($value = getenv($name)) !== false ? $value : $default ?? throw new Failed("$name is not set");
    $client = new Client($env('PIPIT_SERVER', 'http://127.0.0.1:11223'), $env('PIPIT_USER'), $env('PIPIT_PASSWORD'), $env('PIPIT_SUB_KEY', ''),
        (int) $env('PIPIT_LEASE', 30), (float) $env('PIPIT_PATIENCE', 240));
    if ($action === 'publish') {
        exit($client->publish($topic, stream_get_contents(STDIN), ...array_slice($rest, 0, 1)) . "\n");
    }
    pcntl_async_signals(true);
    array_map(fn ($signal) => pcntl_signal($signal, [$client, 'stop']), [SIGTERM, SIGINT]);
    $client->consume($topic, fn ($payload, $meta) => $rest ? run($rest, $payload, $meta) : print("$payload\n"));
}

if (realpath($_SERVER['SCRIPT_FILENAME']) === __FILE__) {
    try {
        main(...array_slice($argv, 1));
    } catch (Failed $e) {
        fwrite(STDERR, $e->getMessage() . "\n");
        exit(1);
    }
}
