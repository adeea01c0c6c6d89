<?php
// PHP's curl as a publisher, see samples.mjs.

require __DIR__ . '/printing.php';

/** Publishes one event and returns its id. Retries with the same key, so that the event is stored once. */
function publish(string $url, string $token, string $channel, mixed $payload): string
{
    $curl = curl_init($url);
    curl_setopt_array($curl, [
        CURLOPT_POSTFIELDS => json_encode(['channel' => $channel, 'payload' => $payload], JSON_THROW_ON_ERROR),
        CURLOPT_HTTPHEADER => [
            'Content-Type: application/json',
            "Authorization: Bearer $token",
            'Idempotency-Key: ' . bin2hex(random_bytes(16)),
        ],
        CURLOPT_RETURNTRANSFER => true,
        CURLOPT_TIMEOUT => 5,
    ]);
    for ($attempt = 1; ; $attempt++) {
        $body = curl_exec($curl);
        $status = curl_getinfo($curl, CURLINFO_RESPONSE_CODE);
        if ($status === 202 && $body !== false) {
            return json_decode($body, flags: JSON_THROW_ON_ERROR)->id;
        }
        $isTemporary = $body === false || $status === 429 || $status >= 500;
        if (!$isTemporary || $attempt === 3) {
            throw new RuntimeException("not published: $status " . ($body ?: curl_error($curl)));
        }
        usleep($attempt * 200_000);
    }
}

publish_names(publish(...));
