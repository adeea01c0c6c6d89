<?php
// PHP's curl reads one answer; a loop around it reconnects. GZIP=on: with CURLOPT_ENCODING.

require __DIR__ . '/printing.php';

$retry_milliseconds = 1000;
$last_event_id = null;

$take = function (string $block) use (&$retry_milliseconds, &$last_event_id): void {
    $fields = [];
    foreach (explode("\n", $block) as $line) {
        [$name, $value] = preg_split('/: ?/', $line, 2) + [1 => ''];
        $fields[$name] = $value;
    }
    $retry_milliseconds = (int) ($fields['retry'] ?? $retry_milliseconds);
    $last_event_id = $fields['id'] ?? $last_event_id;
    if (isset($fields['data'])) {
        print_message($last_event_id, $fields['event'] ?? null, $fields['data']);
    }
};

while (true) {
    $rest = '';
    $curl = curl_init($argv[1]);
    curl_setopt_array($curl, [
        CURLOPT_HTTPHEADER => ['Accept: text/event-stream', ...($last_event_id === null ? [] : ["Last-Event-ID: $last_event_id"])],
        CURLOPT_FAILONERROR => true,
        // Less than one byte per second for 45 s: there is no limit by default, and keepalives arrive every 15 s.
        CURLOPT_LOW_SPEED_LIMIT => 1,
        CURLOPT_LOW_SPEED_TIME => 45,
        CURLOPT_WRITEFUNCTION => function ($curl, string $piece) use (&$rest, $take): int {
            $blocks = explode("\n\n", $rest . $piece);
            $rest = array_pop($blocks);
            array_walk($blocks, $take);
            return strlen($piece);
        },
    ] + (getenv('GZIP') === 'on' ? [CURLOPT_ENCODING => 'gzip'] : []));
    if (!curl_exec($curl)) {
        print_error(curl_error($curl));
        if (curl_getinfo($curl, CURLINFO_RESPONSE_CODE) >= 400) {
            exit(1);
        }
    }
    usleep($retry_milliseconds * 1000);
}
