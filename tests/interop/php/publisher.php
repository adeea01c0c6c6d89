<?php
// PHP's curl as a publisher on one connection, see publishers.mjs.

require __DIR__ . '/printing.php';

$curl = curl_init();
while (($line = fgets(STDIN)) !== false) {
    $request = json_decode($line, true, 512, JSON_THROW_ON_ERROR);
    $headers = array_map(fn ($name, $value) => "$name: $value", array_keys($request['headers']), $request['headers']);
    curl_setopt_array($curl, [
        CURLOPT_URL => $request['url'],
        CURLOPT_HTTPHEADER => $headers,
        CURLOPT_POSTFIELDS => $request['before'] . str_repeat('x', $request['fill']) . $request['after'],
        CURLOPT_RETURNTRANSFER => true,
    ]);
    if (curl_exec($curl) === false) {
        print_error(curl_error($curl));
    } else {
        print_line(['status' => curl_getinfo($curl, CURLINFO_RESPONSE_CODE)]);
    }
}
